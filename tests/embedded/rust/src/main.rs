// SPDX-License-Identifier: Apache-2.0
//! Allocates in Rust, in C (LMDB) and in arenas, from several threads, checks every block, and prints a sum
//! that depends on no allocator. With the argument "hold" it then keeps memory and waits for a line, with "later" it also
//! waits for one before all of that, with "lose" it loses some.
mod lost;

use std::collections::HashMap;
use std::io::{BufRead, Write};

#[cfg(any(feature = "mimalloc2", feature = "mimalloc3"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[repr(align(128))]
struct Wide([u64; 16]);

fn next(x: &mut u64) -> u64 {
    *x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *x >> 33
}

fn work(seed: u64) -> u64 {
    let mut x = seed;
    let mut sum = 0u64;
    let mut table: HashMap<String, Vec<u64>> = HashMap::new();
    for i in 0..2000 {
        table.entry(format!("key {}", next(&mut x) % 300)).or_default().push(i);
    }
    for (key, list) in &table {
        sum = sum.wrapping_add(key.len() as u64 * list.iter().sum::<u64>());
    }
    let mut blocks: Vec<Box<[u8]>> = Vec::new();
    for i in 0..1000u64 {
        let bytes = (next(&mut x) % 5000) as usize + 1;
        let mut block = vec![0u8; bytes];
        assert!(block.iter().all(|b| *b == 0), "a zeroed block is not");
        block.fill(i as u8);
        block.reserve_exact(bytes);
        block.resize(bytes * 2, i as u8);
        blocks.push(block.into_boxed_slice());
        let wide = Box::new(Wide([i; 16]));
        assert_eq!(&*wide as *const Wide as usize % 128, 0, "a block is misaligned");
        sum = sum.wrapping_add(wide.0[15]);
    }
    for (i, block) in blocks.iter().enumerate() {
        assert!(block.iter().all(|b| *b == i as u8), "a block lost its content");
        sum = sum.wrapping_add(block.len() as u64);
    }
    let arena = bumpalo::Bump::new();
    for i in 0..5000u64 {
        sum = sum.wrapping_add(*arena.alloc(i));
    }
    sum
}

#[inline(never)]
fn use_lmdb(directory: &std::path::Path) -> u64 {
    std::fs::create_dir_all(directory).unwrap();
    let env = unsafe { heed::EnvOpenOptions::new().map_size(64 << 20).open(directory).unwrap() };
    let mut transaction = env.write_txn().unwrap();
    let database: heed::Database<heed::types::Bytes, heed::types::Bytes> =
        env.create_database(&mut transaction, None).unwrap();
    for i in 0..3000u32 {
        database.put(&mut transaction, &i.to_be_bytes(), &[i as u8; 200]).unwrap();
    }
    transaction.commit().unwrap();
    let transaction = env.read_txn().unwrap();
    let sum = database.iter(&transaction).unwrap().map(|item| item.unwrap().1[199] as u64).sum();
    drop(transaction);
    sum
}

#[inline(never)]
fn hold_in_rust() -> Vec<Vec<u8>> {
    let held = (0..4000).map(|i| vec![i as u8 | 1; 5000]).collect();
    std::hint::black_box(&held); // so that this function is the caller, and not replaced by a jump
    held
}

fn wait_for_a_line(word: &str) {
    println!("{word}");
    std::io::stdout().flush().unwrap();
    std::io::stdin().lock().lines().next();
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("lose") {
        println!("{}\nok", lost::run(|| wait_for_a_line("ready")));
        return;
    }
    let what = std::env::args().nth(1).unwrap_or_default();
    if what == "later" {
        wait_for_a_line("waiting");
    }
    let scratch = std::env::temp_dir().join(format!("embedding.{}", std::process::id()));
    let threads: Vec<_> = (1..5).map(|seed| std::thread::spawn(move || work(seed))).collect();
    let mut sum: u64 = threads.into_iter().map(|t| t.join().unwrap()).fold(0, u64::wrapping_add);
    if what != "start" {
        sum = sum.wrapping_add(use_lmdb(&scratch));
    }
    if what == "hold" || what == "later" {
        let held = hold_in_rust();
        wait_for_a_line("ready");
        sum = sum.wrapping_add(held.len() as u64);
    }
    std::fs::remove_dir_all(&scratch).ok();
    println!("sum {sum}\nok");
}
