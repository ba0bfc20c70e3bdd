//! The status over the wire and as a table.

use serde_json::{Value, json};

use super::*;

/// Returns a full status in its wire form.
fn full() -> Value {
    json!({
        "version": "1.0.0", "pid": 4711, "state": "serving", "uptime": 75.4, "generation": 3,
        "workers_wanted": 2, "requests": 120, "restarts": {"died": 2, "max_rss": 1},
        "trouble": "workers die", "listeners": ["http://127.0.0.1:8000"], "metrics_listeners": [],
        "snapshot": {
            "songs": 30, "albums": 3, "artists": 2, "genres": 1, "bytes": 1_250_000, "hash": "00ff", "revision": 7,
            "age": 12.2, "stale": true, "empty": false,
        },
        "last_reload": {"time": 1_700_000_000, "error": "no database"},
        "source": {
            "stale": true, "reason": "no database", "up": false, "checked": 1_600_000_000.5, "age": 42.0,
            "next_try": null, "revision": 8, "serves": "store",
        },
        "scan": {
            "running_since": 100.0, "next": null,
            "last": {
                "started": 40.0, "ended": 52.5, "exit_code": 5, "songs": 30, "added": 1, "changed": 2,
                "removed": 3, "moved": 4, "kept": 5, "unreachable": 6, "error": null,
            },
        },
        "workers": [{
            "slot": 0, "pid": 4712, "generation": 3, "state": "serving", "age": 74.9, "silent": 0.1,
            "requests": 60, "requests_per_second": 0.8, "connections": 4, "request": null, "p50": 0.0005,
            "p99": null, "memory_private": 200_000, "memory_shared": 5_000_000,
        }],
    })
}

fn read(value: Value) -> Status {
    serde_json::from_value(value).unwrap()
}

#[test]
fn status_is_written_as_it_was_read() {
    assert_eq!(serde_json::to_value(read(full())).unwrap(), full());
    let mut failed = full();
    failed["scan"]["last"] = json!({"started": 1.0, "ended": 2.0, "exit_code": 4, "error": "no folder"});
    assert_eq!(serde_json::to_value(read(failed.clone())).unwrap(), failed);
    let null = |key: &str| {
        let mut status = full();
        status[key] = Value::Null;
        assert_eq!(serde_json::to_value(read(status.clone())).unwrap(), status, "{key}");
    };
    for key in ["generation", "trouble", "snapshot", "listeners", "last_reload", "source", "scan"] {
        null(key);
    }
}

#[test]
fn worker_says_nothing_of_why_a_scan_failed() {
    let scan =
        json!({"running_since": null, "next": 7.0, "last": {"started": 1.0, "ended": 2.0, "exit_code": 4}});
    let read: ScanStatus = serde_json::from_value(scan.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), scan);
}

#[test]
fn status_of_another_release_is_read() {
    let mut status = full();
    status["later"] = json!([1]);
    status["workers"][0]["later"] = json!({});
    status["snapshot"]["later"] = json!("x");
    assert_eq!(read(status), read(full()));
    assert_eq!(read(json!({})), Status::default());
    let few = read(json!({"workers": [{"pid": 7}], "snapshot": {"songs": 1}, "scan": {"last": {}}}));
    assert_eq!((few.workers[0].load.pid, few.snapshot.map(|of| of.contents.songs)), (7, Some(1)));
}

#[test]
fn table_names_faults() {
    let mut status = read(full());
    status.scan = None;
    assert_eq!(
        status.to_string(),
        "avalon-master 1.0.0 pid 4711 serving for 75 s, generation 3, 120 requests\n\
         snapshot 00ff of 1.2 MB, 12 s old: 30 songs, 3 albums, 2 artists, 1 genres, revision 7\n\
         last reload failed: no database\n\
         stale data: no database\n\
         database last read 42 s ago\n\
         no retry: put it right, then avalonctl reload\n\
         trouble: workers die\n\
         workers replaced: 2 (died)\n\
         workers replaced: 1 (max_rss)\n\
         slot      pid  gen state       age s   requests    req/s  conns   p50 ms   p99 ms private MB  shared MB\n\
         \u{20}  0     4712    3 serving        75         60      0.8      4    0.500    0.000        0.2        5.0\n"
    );
    let empty = Status {
        generation: None,
        snapshot: Some(SnapshotStatus { empty: true, ..Default::default() }),
        ..status
    };
    assert!(empty.to_string().contains("the collection is empty: nothing has been scanned yet\n"));
}

#[test]
fn scans_are_told_by_their_age() {
    let scan = read(full()).scan.unwrap();
    assert_eq!(
        scan.in_words(112.5),
        "last scan 60 s ago, in 12.5 s: 30 songs, 1 added, 2 changed, 3 removed, 4 moved\n\
         6 places could not be reached, 5 songs stay as they were\n\
         a scan has been running for 12 s\n"
    );
    let last = ScanEnd {
        started: Some(1.0),
        ended: 2.0,
        exit_code: 4,
        found: None,
        error: Some(Some("gone".to_owned())),
    };
    let failed = ScanStatus { running_since: None, next: Some(9.0), last: Some(last) };
    assert_eq!(failed.in_words(4.0), "last scan failed 2 s ago with exit code 4: gone\nnext scan in 5 s\n");
}

#[test]
fn database_is_shown_with_the_next_try() {
    let mut source = read(full()).source.unwrap();
    source.next_try = Some(107.25);
    assert_eq!(
        source.in_words(100.0, false),
        "stale data: no database\ndatabase last read 42 s ago\nnext try in 7.2 s\n"
    );
    let never = SourceStatus { stale: true, reason: Some("kept".to_owned()), ..SourceStatus::default() };
    assert_eq!(
        never.in_words(1.0, false),
        "stale data: kept\nno retry: put it right, then avalonctl reload\n"
    );
    let fresh = SourceStatus { age: Some(3.0), up: Some(true), ..SourceStatus::default() };
    assert_eq!(fresh.in_words(1.0, false), "database last read 3 s ago\n");
    assert_eq!(never.in_words(1.0, true), "stale data: kept\n", "the retry is under way");
}
