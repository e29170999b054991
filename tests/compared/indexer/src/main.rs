// SPDX-License-Identifier: Apache-2.0
//! indexer PORT DIRECTORY: a search engine for documents that it makes up itself, the same ones in each run. It begins
//! with an empty index in that directory.
//!
//! It listens on 127.0.0.1, prints READY, and answers each line of a connection when the work is done:
//! `index N` adds N documents in batches, `search N` answers N queries, `both N M` does these at the same time, `stop`
//! ends the program. The answer to a search is the number of documents found, the same under every allocator.
mod documents;
mod engine;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use engine::Engine;

#[cfg(feature = "mimalloc2")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn answer(engine: &Engine, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|w| w.parse::<u32>().ok()).unwrap_or(0);
    match *words.first()? {
        "index" => {
            engine.index(number(1));
            Some(format!("indexed {}", engine.len()))
        }
        "search" => Some(format!("found {}", engine.search(number(1)))),
        "both" => std::thread::scope(|scope| {
            let searching = scope.spawn(|| engine.search(number(2)));
            engine.index(number(1));
            searching.join().expect("the search ended");
            Some(format!("indexed {}", engine.len()))
        }),
        "stop" => std::process::exit(0),
        _ => Some("what is that? index N, search N, both N M, or stop".to_string()),
    }
}

fn serve(engine: &Engine, stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        if let Some(text) = answer(engine, &line?) {
            writeln!(writer, "{text}")?;
        }
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (Some(Ok(port)), Some(directory)) = (arguments.get(1).map(|a| a.parse::<u16>()), arguments.get(2)) else {
        eprintln!("usage: indexer PORT DIRECTORY");
        std::process::exit(2);
    };
    let engine = Engine::open(directory.as_ref()).unwrap_or_else(|error| {
        eprintln!("indexer: {directory}: {error}");
        std::process::exit(1);
    });
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| {
        eprintln!("indexer: port {port}: {error}");
        std::process::exit(1);
    });
    println!("READY");
    for stream in listener.incoming().flatten() {
        if let Err(error) = serve(&engine, stream) {
            eprintln!("indexer: {error}");
        }
    }
}
