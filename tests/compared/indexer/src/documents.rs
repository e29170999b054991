// SPDX-License-Identifier: Apache-2.0
//! Documents and queries, made from their numbers alone.

/// As many words as a small encyclopedia has; few of them are common.
const VOCABULARY: u64 = 60_000;
const WORDS: u64 = 80;

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// Splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        (u128::from(self.next()) * u128::from(n) >> 64) as u64
    }
    /// The cube of an even distribution: the first words are the common ones.
    fn rank(&mut self) -> u64 {
        let even = self.below(1 << 20) as f64 / f64::from(1 << 20);
        (even * even * even * VOCABULARY as f64) as u64
    }
}

fn push_word(text: &mut String, rank: u64) {
    let mut letters = Random::new(rank * 7919 + 1);
    for _ in 0..3 + rank % 8 {
        text.push((b'a' + letters.below(26) as u8) as char);
    }
    text.push_str(&rank.to_string());
}

/// \return the text of a document: words with spaces between them
pub fn document(id: u32) -> String {
    let mut random = Random::new(u64::from(id) + 1);
    let mut text = String::new();
    for _ in 0..WORDS / 2 + random.below(WORDS) {
        let rank = random.rank();
        push_word(&mut text, rank);
        text.push(' ');
    }
    text
}

/// \return two or three words that documents may have
pub fn query(number: u32) -> Vec<String> {
    let mut random = Random::new(0x5eed_0000_0000 + u64::from(number));
    let words = 2 + random.below(2);
    (0..words)
        .map(|_| {
            let mut word = String::new();
            push_word(&mut word, random.rank() / 16);
            word
        })
        .collect()
}
