// SPDX-License-Identifier: Apache-2.0
//! Keeps blocks in the ways in which Rust programs do, loses a known number of others, and waits. In main and in each of
//! two threads it loses 3,000 single blocks, a vector of 500 strings, 500 rings of two reference counts and a list of
//! 1,000, whose size classes are 640, 768, 896 and 1,024 bytes; blocks that are kept have those, too.
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, LinkedList, VecDeque};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex};

const SINGLE: usize = 3000;
const STRINGS: usize = 500;
const RINGS: usize = 500;
const LIST: usize = 1000;

struct Ring {
    other: RefCell<Option<Rc<Ring>>>,
    _rest: [u8; 785],
}

struct Link {
    _next: Option<Box<Link>>,
    _rest: [u8; 899],
}

fn list(length: usize) -> Option<Box<Link>> {
    let mut head = None;
    for i in 0..length {
        head = Some(Box::new(Link { _next: head, _rest: [i as u8; 899] }));
    }
    head
}

fn ring() -> Rc<Ring> {
    let one = Rc::new(Ring { other: RefCell::new(None), _rest: [1; 785] });
    let two = Rc::new(Ring { other: RefCell::new(Some(one.clone())), _rest: [2; 785] });
    *one.other.borrow_mut() = Some(two);
    one
}

/// A compiler drops what is not looked at.
fn forget<T>(what: T) {
    std::mem::forget(black_box(what));
}

#[inline(never)]
fn lose() {
    for i in 0..SINGLE {
        forget(vec![i as u8 | 1; 601]);
    }
    forget((0..STRINGS).map(|i| vec![i as u8 | 1; 707]).collect::<Vec<_>>());
    for _ in 0..RINGS {
        drop(black_box(ring()));
    }
    forget(list(LIST));
}

#[derive(Default)]
struct Kept {
    boxes: Vec<Box<dyn Fn(u64) -> u64 + Send>>,
    by_name: HashMap<String, Vec<u64>>,
    by_number: BTreeMap<u64, String>,
    queue: VecDeque<Arc<Mutex<Vec<u8>>>>,
    chain: LinkedList<[u64; 20]>,
    rest: Vec<Vec<u8>>,
}

fn keep(seed: u64) -> Kept {
    let mut kept = Kept::default();
    for i in 0..2000u64 {
        let captured = [i ^ seed; 12];
        kept.boxes.push(Box::new(move |x| captured.iter().sum::<u64>() + x));
        kept.by_name.entry(format!("name {}", i % 700)).or_default().push(i);
        kept.by_number.insert(i * 7, format!("a string that is long enough, {i}"));
        kept.queue.push_back(Arc::new(Mutex::new(vec![1; 601 + (i % 300) as usize])));
        if i % 3 == 0 {
            kept.queue.pop_front();
        }
        kept.chain.push_back([i; 20]);
        kept.rest.push(vec![i as u8 | 1; 40 + (i % 2000) as usize]);
    }
    for i in 0..1000 {
        kept.rest[i * 2] = Vec::new();
    }
    kept
}

thread_local! {
    static MINE: RefCell<Vec<Box<[u8; 222]>>> = const { RefCell::new(Vec::new()) };
}
static SHARED: Mutex<Vec<Box<[u8; 333]>>> = Mutex::new(Vec::new());

#[inline(never)]
fn wipe() {
    black_box(&mut [0u8; 128 << 10]);
}

pub fn run(ready: impl FnOnce()) -> u64 {
    let barrier = Arc::new(Barrier::new(3));
    for seed in 0..2u64 {
        let barrier = barrier.clone();
        std::thread::spawn(move || {
            let kept = keep(seed);
            MINE.with(|m| m.borrow_mut().extend((0..100).map(|_| Box::new([1; 222]))));
            lose();
            wipe();
            barrier.wait();
            loop {
                std::thread::park();
                black_box(&kept);
            }
        });
    }
    let kept = keep(9);
    SHARED.lock().unwrap().extend((0..100).map(|_| Box::new([1; 333])));
    lose();
    barrier.wait();
    wipe();
    ready();
    kept.boxes.iter().map(|f| f(1)).fold(kept.chain.len() as u64, u64::wrapping_add)
}
