//! `metrics`: the state of all processes from the scoreboard, in Prometheus' text format 0.0.4.
//!
//! All values come from the scoreboard, even those that the answering worker has itself: during a
//! reload there are two snapshots, and the page must not depend on the worker that answers.

use super::PROGRAM_VERSION;
use super::exposition::{Kind, Page, seconds};
use super::status::served_from;
use crate::scoreboard::{CODES, Header, RestartCause, Scans, Scoreboard, Source, endpoint_names};
use crate::worker::watch::clock::CLOCK_TICK;

// The help texts of connections and of requests in flight state this rate.
const _: () = assert!(CLOCK_TICK.as_millis() * 4 == 1000, "looked at four times a second");

/// More than the bytes of a page with a handful of endpoints in use.
const PAGE: usize = 16 * 1024;

/// Returns the whole page.
pub(in crate::worker) fn render(scoreboard: &Scoreboard) -> String {
    let mut page = Page::with_capacity(PAGE);
    let header = scoreboard.header();
    page.family("avalon_build_info", Kind::Gauge, "The version of the server, as a label of the value 1.")
        .sample(&[("version", PROGRAM_VERSION)], 1);
    page.family("process_start_time_seconds", Kind::Gauge, "When the master was started, since 1970.")
        .sample(&[], seconds(&header.started_ms));
    requests(&mut page, scoreboard);
    workers(&mut page, header);
    reloads(&mut page, header);
    snapshot(&mut page, header);
    collection(&mut page, header);
    source(&mut page, &header.source);
    scans(&mut page, &header.scans);
    memory(&mut page, scoreboard);
    page.finish()
}

fn requests(page: &mut Page, scoreboard: &Scoreboard) {
    let mut family = page.family(
        "avalon_http_request_duration_seconds",
        Kind::Histogram,
        "How long answers took to make, by endpoint and status, without the time to send them.",
    );
    for (endpoint, name) in endpoint_names() {
        for (at, code) in CODES.iter().enumerate() {
            let reading = scoreboard.durations(endpoint, at);
            if reading.count() > 0 {
                family.histogram([("endpoint", name), ("code", code)], &reading);
            }
        }
    }
    page.family("avalon_http_response_bytes_total", Kind::Counter, "Bytes of bodies of answers.")
        .sample(&[], scoreboard.sent());
    let living = || scoreboard.living().map(|(_, slot)| slot);
    page.family(
        "avalon_http_requests_in_flight",
        Kind::Gauge,
        "Requests whose answer is being made or sent, looked at four times a second.",
    )
    .sample(&[], living().map(|slot| u64::from(slot.in_flight())).sum::<u64>());
    page.family(
        "avalon_connections",
        Kind::Gauge,
        "Connections that are open, looked at four times a second.",
    )
    .sample(&[], living().map(|slot| u64::from(slot.connections())).sum::<u64>());
}

fn workers(page: &mut Page, header: &Header) {
    page.gauge("avalon_workers", "Workers that accept connections.", &header.workers);
    page.gauge("avalon_workers_wanted", "Workers that there should be.", &header.workers_wanted);
    let mut family =
        page.family("avalon_worker_restarts_total", Kind::Counter, "Workers that were replaced, by cause.");
    for (cause, count) in RestartCause::ALL.iter().zip(&header.restarts) {
        family.sample(&[("cause", cause.name())], count.get());
    }
}

fn reloads(page: &mut Page, header: &Header) {
    page.gauge(
        "avalon_generation",
        "The generation that serves: one more with each reload.",
        &header.generation,
    );
    let mut family = page.family(
        "avalon_reloads_total",
        Kind::Counter,
        "Reloads, by outcome; after one that has failed the former generation serves.",
    );
    family.sample(&[("outcome", "success")], header.reloads_made.get());
    family.sample(&[("outcome", "failure")], header.reloads_failed.get());
    page.family(
        "avalon_last_reload_timestamp_seconds",
        Kind::Gauge,
        "When the last reload, or the start, was over, since 1970.",
    )
    .sample(&[], seconds(&header.last_made_ms));
    page.gauge(
        "avalon_last_reload_successful",
        "Whether the last reload, or the start, went well: 1 or 0.",
        &header.last_made_serves,
    );
}

fn snapshot(page: &mut Page, header: &Header) {
    page.family(
        "avalon_snapshot_build_duration_seconds",
        Kind::Gauge,
        "How long it took to read the database and build the snapshot; 0 for a kept one.",
    )
    .sample(&[], seconds(&header.build_ms));
    for (name, help, number) in [
        (
            "avalon_snapshot_stale",
            "Whether the database may hold other rows than are served: 1 or 0; the status says why.",
            &header.source.stale,
        ),
        ("avalon_snapshot_bytes", "Size of the snapshot that serves.", &header.snapshot_bytes),
        ("avalon_songs", "Songs that are served.", &header.songs),
        ("avalon_albums", "Albums that are served.", &header.albums),
        ("avalon_artists", "Artists that are served.", &header.artists),
        ("avalon_genres", "Genres that are served.", &header.genres),
    ] {
        page.gauge(name, help, number);
    }
    let mut family = page.family(
        "avalon_collection_revision",
        Kind::Gauge,
        "Revision of the rows that are served; no value where it is not known.",
    );
    if header.revision.get() > 0 {
        family.sample(&[], header.revision.get());
    }
}

/// Adds the collection; no sample before the first generation serves.
fn collection(page: &mut Page, header: &Header) {
    let help =
        "The hash of the rows that are served, as a label of the value 1: equal rows have equal hashes.";
    let mut family = page.family("avalon_snapshot_info", Kind::Gauge, help);
    if let Some(hash) = header.hash.get() {
        family.sample(&[("hash", &hash)], 1);
    }
}

/// Adds the source; no samples before the first load that asks the database.
fn source(page: &mut Page, source: &Source) {
    let mut family = page.family(
        "avalon_source_up",
        Kind::Gauge,
        "Whether the last load or poll of the source (the database, or the store of SNAPSHOT_URL) could read it: 1 or 0.",
    );
    if let Some(up) = source.up.get().checked_sub(1) {
        family.sample(&[], up);
    }
    let help = "Where the rows that are served are from (database, store, kept), as a label of the value 1.";
    let mut family = page.family("avalon_serves_info", Kind::Gauge, help);
    if let Some(from) = served_from(source) {
        family.sample(&[("from", from)], 1);
    }
    let mut family = page.family(
        "avalon_source_revision",
        Kind::Gauge,
        "Revision that the watcher has seen in the source (of a store the counter of its pointer), if it is known.",
    );
    if source.revision.get() > 0 {
        family.sample(&[], source.revision.get());
    }
    let mut family = page.family(
        "avalon_source_checked_timestamp_seconds",
        Kind::Gauge,
        "When the rows that are served were last read from the source or seen there, since 1970.",
    );
    if source.checked_ms.get() > 0 {
        family.sample(&[], seconds(&source.checked_ms));
    }
}

/// Adds the scans; no samples without scans.
fn scans(page: &mut Page, scans: &Scans) {
    let mut family = page.family("avalon_scans_total", Kind::Counter, "Scans by the master, by outcome.");
    for (outcome, number) in
        [("success", &scans.complete), ("partial", &scans.partial), ("failure", &scans.failed)]
    {
        family.sample(&[("outcome", outcome)], number.get());
    }
    for (name, help, time) in [
        ("avalon_next_scan_timestamp_seconds", "When the next scan is due, since 1970.", &scans.next_ms),
        (
            "avalon_last_scan_start_timestamp_seconds",
            "When the last scan was started, since 1970.",
            &scans.started_ms,
        ),
        ("avalon_last_scan_timestamp_seconds", "When the last scan ended, since 1970.", &scans.ended_ms),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        if time.get() > 0 {
            family.sample(&[], seconds(time));
        }
    }
    let mut family = page.family(
        "avalon_last_scan_exit_code",
        Kind::Gauge,
        "Exit code of the last scan, as avalon-scan returns it; 0 and 5 mean that the collection was stored.",
    );
    if scans.ended_ms.get() > 0 {
        family.sample(&[], scans.exit_code.get());
    }
    let mut family = page.family(
        "avalon_last_scan_songs",
        Kind::Gauge,
        "Songs by their fate in the last scan that has not failed; total: of the collection.",
    );
    for (fate, number) in [
        ("total", &scans.songs),
        ("added", &scans.added),
        ("changed", &scans.changed),
        ("removed", &scans.removed),
        ("moved", &scans.moved),
        ("kept", &scans.kept),
    ] {
        if scans.complete.get() + scans.partial.get() > 0 {
            family.sample(&[("fate", fate)], number.get());
        }
    }
    let mut family = page.family(
        "avalon_last_scan_unreachable",
        Kind::Gauge,
        "Files and folders that the last scan that has not failed could not reach.",
    );
    if scans.complete.get() + scans.partial.get() > 0 {
        family.sample(&[], scans.unreachable.get());
    }
}

/// Adds the memory by slot, not by pid. Slots are reused, so that there are no more series than
/// processes at the same time.
fn memory(page: &mut Page, scoreboard: &Scoreboard) {
    let header = scoreboard.header();
    let master = (header.memory_resident.get(), header.memory_private.get());
    let workers = scoreboard.living().map(|(number, slot)| (number.to_string(), slot.memory()));
    // A worker has no value before its first check, a second after its start.
    let workers: Vec<_> = workers.filter(|(_, (resident, _))| *resident > 0).collect();
    type Which = fn(&(u64, u64)) -> u64;
    let families: [(_, _, Which); 2] = [
        (
            "avalon_process_resident_memory_bytes",
            "Memory that is resident, by process; the snapshot is counted in each that has read it.",
            |memory| memory.0,
        ),
        (
            "avalon_process_private_memory_bytes",
            "Memory that is resident and that no other process shares.",
            |memory| memory.1,
        ),
    ];
    for (name, help, which) in families {
        let mut family = page.family(name, Kind::Gauge, help);
        family.sample(&[("process", "master")], which(&master));
        for (slot, memory) in &workers {
            family.sample(&[("process", "worker"), ("slot", slot)], which(memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::Endpoint;
    use crate::model::Owner;
    use crate::scoreboard::{BOUNDS, ENDPOINTS, endpoint_number};

    #[test]
    fn histograms_are_cumulative_and_in_seconds() {
        let board = Scoreboard::create().unwrap();
        let genres = endpoint_number(Some(Endpoint::List(Owner::Genre.into())));
        for took in [Duration::from_micros(10), Duration::from_micros(11), Duration::from_secs(20)] {
            board.assign(1).end_request(genres, 404, took);
        }
        // Another slot, and a worker that has ended.
        board.assign(0).end_request(genres, 404, Duration::from_millis(2));
        let page = render(&board);
        let name = "avalon_http_request_duration_seconds";
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(lines.len(), BOUNDS.len() + 3, "{page}");
        for (le, count) in
            [("0.00001", 1), ("0.000025", 2), ("0.001", 2), ("0.0025", 3), ("10", 3), ("+Inf", 4)]
        {
            let line = format!("{name}_bucket{{endpoint=\"genres\",code=\"404\",le=\"{le}\"}} {count}");
            assert!(lines.contains(&line.as_str()), "{line} is not in {page}");
        }
        let labels = "{endpoint=\"genres\",code=\"404\"}";
        assert_eq!(lines[lines.len() - 2], format!("{name}_sum{labels} 20.002021000"));
        assert_eq!(lines[lines.len() - 1], format!("{name}_count{labels} 4"));
    }

    #[test]
    fn the_header_of_the_master_is_passed_on() {
        let board = Scoreboard::create().unwrap();
        let header = board.header();
        header.songs.set(42);
        header.revision.set(7);
        header.hash.set("00ff");
        header.started_ms.set(1_764_000_000_007);
        header.restarts[RestartCause::MaxRss as usize].set(3);
        header.memory_private.set(4096);
        let page = render(&board);
        assert!(
            !page.contains("\navalon_source_up ") && page.contains("# TYPE avalon_source_up gauge"),
            "{page}"
        );
        header.source.stale.set(1);
        header.source.up.set(1);
        header.source.revision.set(8);
        header.source.checked_ms.set(1_764_000_001_250);
        let slot = board.assign(5);
        slot.claim(1, 1);
        slot.set_memory(9000, 8000);
        slot.set_connections(4, 3);
        slot.sent(77);
        let page = render(&board);
        for line in [
            "avalon_songs 42",
            "avalon_collection_revision 7",
            "avalon_snapshot_info{hash=\"00ff\"} 1",
            "avalon_snapshot_stale 1",
            "avalon_source_up 0",
            "avalon_source_revision 8",
            "avalon_source_checked_timestamp_seconds 1764000001.250000000",
            "process_start_time_seconds 1764000000.007000000",
            "avalon_worker_restarts_total{cause=\"max_rss\"} 3",
            "avalon_worker_restarts_total{cause=\"died\"} 0",
            "avalon_reloads_total{outcome=\"failure\"} 0",
            "avalon_process_private_memory_bytes{process=\"master\"} 4096",
            "avalon_process_private_memory_bytes{process=\"worker\",slot=\"5\"} 8000",
            "avalon_process_resident_memory_bytes{process=\"worker\",slot=\"5\"} 9000",
            "avalon_connections 4",
            "avalon_http_requests_in_flight 3",
            "avalon_http_response_bytes_total 77",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in {page}");
        }
        // A worker that has just begun has not looked yet.
        board.assign(6).claim(2, 1);
        assert!(!render(&board).contains("slot=\"6\""));
        board.slot(6).release();
        // A worker that has ended has neither connections nor memory.
        slot.release();
        let page = render(&board);
        assert!(page.contains("\navalon_connections 0\n") && !page.contains("slot="), "{page}");
    }

    #[test]
    fn every_family_is_announced_and_no_series_is_given_twice() {
        let board = Scoreboard::create().unwrap();
        for (endpoint, _) in endpoint_names() {
            for code in CODES {
                let status = code.parse().unwrap_or(599);
                board.assign(0).end_request(endpoint, status, Duration::from_micros(1));
            }
        }
        let page = render(&board);
        let mut seen = std::collections::HashSet::new();
        let mut family = "";
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(page.contains(&format!("# HELP {family} ")), "{family}");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family) && !family.is_empty(), "{line}");
                assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "{line} is there twice");
            }
        }
        assert!(seen.len() > ENDPOINTS * CODES.len() * BOUNDS.len());
    }
}
