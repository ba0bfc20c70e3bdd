//! Fills a database with a made-up collection of any size, the same for the same seed:
//!
//!     cargo run --release --example generate -- --songs 100000 --seed 1 --database sqlite:////tmp/a.sqlite

#![allow(clippy::cast_possible_truncation, reason = "random numbers are cut on purpose")]

mod collection;
mod names;
mod random;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use avalon::config::DatabaseUrl;
use clap::Parser;

/// Replaces the rows of a database by a made-up collection.
#[derive(Debug, Parser)]
struct Flags {
    /// How many songs
    #[arg(long)]
    songs: usize,
    /// Which collection of that size
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to, as in DATABASE_URL
    #[arg(long)]
    database: String,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because: {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let url = DatabaseUrl::parse(&flags.database)?;
    let start = Instant::now();
    let made = collection::generate(flags.songs, flags.seed);
    let (albums, artists, genres) = (made.albums.len(), made.artists.len(), made.genres.len());
    let generated = start.elapsed();
    avalon::database::replace(&url, &made)?;
    println!(
        "{} songs, {albums} albums, {artists} artists, {genres} genres into {url}: made in {:.1} s, written in {:.1} s",
        made.songs.len(),
        generated.as_secs_f64(),
        (start.elapsed() - generated).as_secs_f64(),
    );
    Ok(())
}
