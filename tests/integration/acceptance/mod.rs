//! The acceptance scenarios: the duties of a server under a standard load of 20 kept connections with
//! 200 requests/s in all and 50 new connections/s ([`crate::harness::load::Plan::standard`]), and how
//! each ends: INV, which is [`crate::harness::invariants::Baseline::assert_holds`].
//!
//! Counts (losses, processes, descriptors, generations, snapshots) are asserted. How long things
//! take on a machine that does other work as well is printed, and bounded only where a much larger
//! number would mean another behaviour.
//!
//! | # | test | bound |
//! |---|---|---|
//! | 1 | `reloads::s01_twenty_reloads_lose_nothing` | 20 HUPs, 0.5 s apart: 0 lost of >= 1000; no client goes back by more than the generation that drains; at most 20 generations, the last rows served; INV |
//! | 2 | `reloads::s02_..._with_reuse_port` | the same |
//! | 3 | `reloads::s03_idle_clients_...` | 300 clients, 5 reloads: 0 lost, 0 closes that are neither announced nor due |
//! | 4 | `reloads::s04_slow_downloads_...` | 10 x 20 MiB at 5 MiB/s through 2 reloads: whole, byte by byte; new connections meet the new rows when the reload is made |
//! | 5 | `reloads::s05_no_answer_of_the_old_generation_...` | 5 reloads: no new connection meets the old rows once `reload --wait` has returned |
//! | 6 | `reload::broken_configuration_changes_nothing`, `control::reload_with_wait_fails_with_the_reason` | same pids, 0 lost; exit code 1 with file and line |
//! | 7 | `reload::broken_sqlite_file_...`, `reload::dead_postgres_...`, `failure::killed_loader_...`, `failure::database_that_never_answers_...`, `failure::full_disk_...` | same pids, 0 lost; LOAD_TIMEOUT |
//! | 8 | `workers::s08_new_worker_that_dies_fails_the_reload`, `master::arbiter` tests | old pids serve; hanging ones are killed after BOOT_TIMEOUT |
//! | 9 | `reload::addresses_change_...`, `generations::the_queue_of_a_removed_address_is_served` | old pids with a busy address; all 8 that wait answered |
//! | 10 | `stops::s10_queue_is_served_before_the_end` | 20 clients of 0.5 s, 4 at a time: 20 whole answers, exit 0, then ECONNREFUSED |
//! | 11 | `stops::s11_stop_under_load_answers_or_refuses` | nothing but answers and refusals; exit 0, no process left |
//! | 12 | `stops::s12_full_stops_and_starts_lose_nothing` | 4 stops and starts, the last from a kept snapshot: 0 lost, slowest answer <= stop + start + 3 s |
//! | 13 | `notify::ready_is_said_when_...`, `notify::slow_load_...` | one READY=1, after all accept |
//! | 14 | `failure::*_ends_with_*`, `notify::stored_snapshot_is_served_at_once_...` | exit codes 1 to 4, one line, no child left |
//! | 15 | `notify::reload_is_told_...`, `notify::signs_of_life_...` | order of messages; WATCHDOG=1 ends with the workers |
//! | 16 | `workers::s16_killed_workers_...` | one, four, one during a drain: at most one loss for each client and killing; a download of the former generation is whole |
//! | 17 | `reloads::s17_long_request_holds_no_signal_up` | all done during a request of a former generation; three HUPs make two generations at most |
//! | 18 | `workers::s18_scaling_loses_nothing`, `workers_come_and_go_by_signal` in `workers.rs` | 2 to 8 and back, 20 times: 0 lost; kept over a reload, never below 1 |
//! | 19 | `silent_worker_is_killed_and_replaced_...` in `workers.rs`, `s24_saturated_worker_...` | killed after TIMEOUT, others serve; at most 1 connection held back |
//! | 20 | `workers::s20_suspended_master_kills_no_worker` | stopped for 3 x TIMEOUT under load: same pids, 0 lost (the clock is monotonic: nothing to step) |
//! | 21 | `stops::s21_workers_of_a_killed_master_answer_and_go`, `killed_master_takes_...` in `workers.rs` | nothing but answers and refusals, no process left; pid file and Unix socket taken over |
//! | 22 | `workers_that_never_live_end_the_server_with_3`, `status_tells_of_workers_that_die_...` in `workers.rs`, `master::arbiter` tests | <= 20 forks a minute, exit 3 after MAX_FAILURES, never while others serve |
//! | 23 | `workers::s23_all_share_one_snapshot` | 128 MiB, 8 workers: PSS <= 1.05 x the pages read + 8 x 15 MiB, no private dirty page, <= 2.1 snapshots during a reload and 1 after it; source overwritten and cut: all serve |
//! | 24 | `workers::s24_connections_are_shared_out_evenly` | most/least <= 1.3 (4 workers, 200) and <= 1.6 (16 workers, 1000); <= 2.2 waits of accept threads per connection |
//! | 24 | `workers::s24_saturated_worker_holds_no_client_up` | of 100 connections at most 1 meets a stopped worker |
//! | 25 | `workers::s25_recycled_workers_...` | 8 recycled at 90 to 110 requests: 0 lost, always 4 to 5 workers, totals exact |
//! | 25 | `workers::s25_workers_with_too_much_memory_...` | MAX_RSS below the memory of any worker: 3 recycled, 0 lost, always 2 workers |
//! | 26 | `generations::signals_that_come_together_...` | 101 HUPs: 2 generations |
//! | 27 | `reloads::s27_hundred_reloads_leave_the_master_as_it_was` | memory +- 256 KiB, descriptors, threads; INV |
//! | 28 | `system::s28_rotated_log_loses_no_line` | 5 rotations, 2 of them after a reload, 200 lines: each once and whole; no process keeps the old file |
//! | 29 | `upgrade::upgrades_under_load_lose_nothing`, `upgrade::new_program_that_fails_...` | 5 upgrades: 0 lost |
//! | 30 | `stops::s30_stop_of_the_whole_group_is_the_same` | as 11 |
//! | 31 | `system::s31_half_open_connections_hold_no_client_up`, `hostile::slow` | 2000 half-open heads: all cut after HEADER_TIMEOUT, 0 others lost |
//! | 32 | `http::limits`, `hostile::bytes` | no worker dies |
//! | 33 | `control::status_is_quick_whatever_...` | median <= 50 ms |
//! | 34 | `failure::workers_and_loader_become_another_user_for_good` | ids, groups, NoNewPrivs, Seccomp; the refusals of landlock: `master::processes::sandbox` |
//! | 35 | `system::s35_process_1_buries_strangers` | four strangers buried, no worker counted as dead |

mod reloads;
mod stops;
mod system;
mod workers;

use std::thread;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_128;

use crate::harness::http::Connection;
use crate::harness::load::{Outcome, Report};

const MIB: usize = 1 << 20;

/// Reads a body at no more than `rate` bytes per second: its digest, and when it was complete.
fn download(address: &str, target: &str, rate: usize) -> (u128, Instant) {
    let mut connection = Connection::open(address).expect("a connection");
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes()).expect("sent");
    let len = connection.head().expect("a head").len().expect("a length");
    let mut body = Vec::with_capacity(len);
    let begin = Instant::now();
    while body.len() < len {
        let due = begin + Duration::from_secs_f64(body.len() as f64 / rate as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let piece = connection.read((256 << 10).min(len - body.len())).expect("a piece of the body");
        assert!(!piece.is_empty(), "cut after {} of {len} bytes", body.len());
        body.extend(piece);
    }
    (xxh3_128(&body), Instant::now())
}

/// Of a load under which a server has stopped.
fn assert_answered_or_refused(report: &Report) {
    println!("{report:?}");
    assert!(report.lost().all(|(outcome, _)| outcome == Outcome::Refused), "{report:?}");
    assert!(report.count(Outcome::Ok) >= 200, "{report:?}");
}
