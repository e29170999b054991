// SPDX-License-Identifier: Apache-2.0
//! The index: documents, and for each word and each pair of neighbours the documents that have it, in LMDB.
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{sync_channel, SyncSender};

use bumpalo::Bump;
use heed::types::{Bytes, Str, U32};
use heed::{byteorder::BigEndian, Database, Env, EnvOpenOptions};
use roaring::RoaringBitmap;

use crate::documents::{document, query};

const BATCH: u32 = 10_000;
const EXTRACTORS: u32 = 4;
const SEARCHERS: u32 = 2;
const BEST: usize = 20;

type Key = U32<BigEndian>;

pub struct Engine {
    env: Env,
    documents: Database<Key, Str>,
    words: Database<Bytes, Bytes>,
    next: AtomicU32,
}

/// What an extractor hands to the writer: a key of `words`, and its new documents.
struct Posting {
    key: Vec<u8>,
    documents: RoaringBitmap,
}

fn serialized(bitmap: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).expect("a vector takes all bytes");
    bytes
}

impl Engine {
    pub fn open(directory: &Path) -> heed::Result<Self> {
        std::fs::create_dir_all(directory)?;
        for file in ["data.mdb", "lock.mdb"] {
            let _ = std::fs::remove_file(directory.join(file));
        }
        // Safety: nobody else opens this directory.
        let env = unsafe { EnvOpenOptions::new().map_size(8 << 30).max_dbs(2).open(directory)? };
        let mut transaction = env.write_txn()?;
        let documents = env.create_database(&mut transaction, Some("documents"))?;
        let words = env.create_database(&mut transaction, Some("words"))?;
        transaction.commit()?;
        Ok(Self { env, documents, words, next: AtomicU32::new(0) })
    }

    pub fn len(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    pub fn index(&self, count: u32) {
        let end = self.len() + count;
        while self.len() < end {
            let begin = self.len();
            let batch = BATCH.min(end - begin);
            self.index_batch(begin, batch);
            self.next.store(begin + batch, Ordering::Relaxed);
        }
    }

    /// Threads of this batch's own read the documents; this one writes, in one transaction.
    fn index_batch(&self, begin: u32, count: u32) {
        let (sender, receiver) = sync_channel::<Posting>(1000);
        std::thread::scope(|scope| {
            for extractor in 0..EXTRACTORS {
                let sender = sender.clone();
                scope.spawn(move || extract((begin + extractor..begin + count).step_by(EXTRACTORS as usize), &sender));
            }
            drop(sender);
            let mut transaction = self.env.write_txn().expect("a write transaction");
            for id in begin..begin + count {
                self.documents.put(&mut transaction, &id, &document(id)).expect("room for a document");
            }
            for posting in receiver {
                let merged = match self.words.get(&transaction, &posting.key).expect("a readable index") {
                    Some(old) => RoaringBitmap::deserialize_from(old).expect("a bitmap") | posting.documents,
                    None => posting.documents,
                };
                self.words.put(&mut transaction, &posting.key, &serialized(&merged)).expect("room for a word");
            }
            transaction.commit().expect("a commit");
        });
    }

    /// \return how many documents were found, in all
    pub fn search(&self, count: u32) -> u64 {
        std::thread::scope(|scope| {
            let searchers: Vec<_> = (0..SEARCHERS)
                .map(|first| {
                    scope.spawn(move || (first..count).step_by(SEARCHERS as usize).map(|n| self.answer(n)).sum::<u64>())
                })
                .collect();
            searchers.into_iter().map(|s| s.join().expect("a search ended")).sum()
        })
    }

    fn answer(&self, number: u32) -> u64 {
        let transaction = self.env.read_txn().expect("a read transaction");
        let mut found: Option<RoaringBitmap> = None;
        let words = query(number);
        for word in &words {
            let bitmap = match self.words.get(&transaction, word.as_bytes()).expect("a readable index") {
                Some(bytes) => RoaringBitmap::deserialize_from(bytes).expect("a bitmap"),
                None => RoaringBitmap::new(),
            };
            found = Some(match found {
                Some(before) => before & bitmap,
                None => bitmap,
            });
        }
        let found = found.unwrap_or_default();
        let mut best: Vec<(usize, String)> = found
            .iter()
            .take(1000)
            .filter_map(|id| self.documents.get(&transaction, &id).expect("a readable document"))
            .map(|text| (words.iter().map(|word| text.matches(word.as_str()).count()).sum(), text.to_string()))
            .collect();
        best.sort_by(|a, b| b.0.cmp(&a.0));
        best.truncate(BEST);
        std::hint::black_box(&best);
        found.len()
    }
}

/// The words and pairs of neighbours of some documents, in an arena until all are known.
fn extract(ids: impl Iterator<Item = u32>, sender: &SyncSender<Posting>) {
    let arena = Bump::new();
    let mut postings: HashMap<&[u8], RoaringBitmap> = HashMap::new();
    for id in ids {
        let text: &str = arena.alloc_str(&document(id));
        let mut previous: Option<&str> = None;
        for word in text.split_ascii_whitespace() {
            postings.entry(word.as_bytes()).or_default().insert(id);
            // Pairs of common words only: the others hardly come twice.
            if let Some(previous) = previous.filter(|p| p.len() < 7 && word.len() < 7) {
                let pair = bumpalo::format!(in &arena, "{}\0{}", previous, word).into_bump_str();
                postings.entry(pair.as_bytes()).or_default().insert(id);
            }
            previous = Some(word);
        }
    }
    for (key, documents) in postings {
        if sender.send(Posting { key: key.to_vec(), documents }).is_err() {
            return;
        }
    }
}
