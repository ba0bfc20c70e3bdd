//! The peers of `scripts/bench --search`: SQLite FTS5 and tantivy, as a user would set them up, each behind
//! hyper with two threads. They answer the questions of Avalon's API that the bench asks, with the same rows.
//!
//!     search_peers build --engine fts5 --database collection.sqlite --index FOLDER
//!     search_peers serve --engine fts5 --index FOLDER
//!     search_peers groonga --database collection.sqlite | groonga FILE    # a peer that needs no server of ours

use std::error::Error;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};

use crate::question::Engine;

mod collection;
mod fts5;
mod groonga;
mod question;
mod serving;
mod tantivy_peer;

#[derive(Debug, Parser)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the index from a collection
    Build {
        #[arg(long)]
        engine: Kind,
        /// The SQLite file with the collection
        #[arg(long)]
        database: PathBuf,
        /// The folder to make it in, which must not exist
        #[arg(long)]
        index: PathBuf,
    },
    /// Serve the index; the address is printed
    Serve {
        #[arg(long)]
        engine: Kind,
        #[arg(long)]
        index: PathBuf,
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        bind: String,
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Print the commands that fill Groonga
    Groonga {
        #[arg(long)]
        database: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Fts5,
    Tantivy,
}

/// An error, in words for the user.
type Failed = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match run(Flags::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("search_peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::Build { engine, database, index } => {
            std::fs::create_dir(&index).map_err(|error| format!("{}: {error}", index.display()))?;
            match engine {
                Kind::Fts5 => fts5::build(&database, &index),
                Kind::Tantivy => tantivy_peer::build(&database, &index),
            }
        }
        Command::Serve { engine, index, bind, threads } => {
            let engine: Arc<dyn Engine> = match engine {
                Kind::Fts5 => Arc::new(fts5::Fts5::new(&index)),
                Kind::Tantivy => Arc::new(tantivy_peer::Tantivy::open(&index)?),
            };
            serving::serve(&engine, &bind, threads)
        }
        Command::Groonga { database } => groonga::print(&database, &mut BufWriter::new(io::stdout().lock())),
    }
}
