//! The report of a scan for programs and people: `--json` and its schema, `--dry-run` and `-v`; and
//! `--files-from`, by which a program tells it where to look.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::safety::Store;
use super::{Home, Scan, id};
use crate::harness::shim;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scan-report.schema.json");

/// Reports to validate come in lines. A schema that is none itself is an error, too.
const VALIDATOR: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
reports = [json.loads(line) for line in sys.stdin]
errors = [f'{list(error.path)}: {error.message}' for report in reports for error in validator.iter_errors(report)]
if errors or not reports:
    sys.exit('\\n'.join(errors) or 'no report')
";

/// Validates with Debian's python3-jsonschema; scripts/install-test-deps brings it.
fn schema_errors(reports: &[Value]) -> Option<String> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", VALIDATOR, SCHEMA])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's python3");
    let lines: String = reports.iter().map(|report| format!("{report}\n")).collect();
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("python3 reads");
    let output = child.wait_with_output().expect("an end");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
pub(super) fn assert_valid(reports: &[Value]) {
    assert_eq!(schema_errors(reports), None);
}

impl Scan {
    /// The report: one object on one line, and nothing else.
    #[track_caller]
    pub(super) fn report(&self) -> Value {
        let text = String::from_utf8(self.output.stdout.clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text:?} {}", self.stderr());
        let report: Value = serde_json::from_str(&text).expect("JSON");
        if let Some(code) = self.output.status.code() {
            assert_eq!(report["exit_code"], code);
        }
        report
    }
}

impl Home {
    pub(super) fn report<const N: usize>(&self, arguments: [&str; N]) -> Value {
        self.scan(["--json"].iter().chain(&arguments)).report()
    }

    pub(super) fn music_text(&self) -> String {
        self.music().display().to_string()
    }
}

/// A song whose size is its own, so that its move can be told from all others.
fn add_sized(home: &Home, name: &str, size: usize) {
    let path = home.add(name);
    let mut bytes = fs::read(&path).expect("the song");
    bytes.resize(bytes.len() + size, 0);
    fs::write(path, bytes).expect("file");
}

#[test]
fn a_report_tells_the_findings_and_their_fates() {
    let home = Home::new();
    for (size, name) in ["stays.mp3", "changes.mp3", "moves.mp3", "goes.mp3"].into_iter().enumerate() {
        add_sized(&home, name, size);
    }
    for number in 0..12 {
        fs::write(home.music().join(format!("{number:02}.txt")), "a text").expect("file");
    }
    let music = home.music_text();
    let first = home.report([&music]);
    assert_eq!(first["counts"]["added"], 4);
    assert_eq!(first["counts"]["found"], 16);
    assert_eq!(first["collection"]["songs"], 4);
    assert_eq!(first["database"]["kind"], "sqlite");
    assert_eq!(first["database"]["written"], true);
    assert_eq!(first["skipped"]["not_audio"]["count"], 12);
    let examples = first["skipped"]["not_audio"]["examples"].as_array().expect("a list");
    assert_eq!(examples.len(), 10);
    assert_eq!(examples[0]["path"], home.music().join("00.txt").display().to_string());
    let root = &first["roots"][0];
    assert_eq!((&root["path"], &root["reachable"]), (&json!(music), &json!(true)));
    assert!(Path::new(&music).starts_with(root["mount"].as_str().expect("a mount")), "{root}");
    assert!(root["file_system"].is_string(), "{root}");

    let path = |name: &str| home.music().join(name);
    let mut song = fs::read(path("changes.mp3")).expect("file");
    song.extend([0; 99]);
    fs::write(path("changes.mp3"), song).expect("file");
    fs::rename(path("moves.mp3"), path("moved.mp3")).expect("rename");
    fs::remove_file(path("goes.mp3")).expect("remove");
    add_sized(&home, "comes.mp3", 77);
    let second = home.scan(["--json", "-v", &music]);
    let report = second.assert_exited(0).report();
    for (count, number) in [("added", 1), ("changed", 1), ("moved", 1), ("removed", 1), ("kept", 0)] {
        assert!(report["counts"][count].as_u64() >= Some(number), "{count}: {report}");
    }
    let hyphenated = |name: &str| avalon::ids::song(&path(name)).to_string();
    assert_eq!(
        report["moved"],
        json!([{
            "old": {"id": hyphenated("moves.mp3"), "path": path("moves.mp3")},
            "new": {"id": hyphenated("moved.mp3"), "path": path("moved.mp3")},
        }])
    );
    for (verb, name) in [
        ("Added", "comes.mp3"),
        ("Read again", "changes.mp3"),
        ("Removed", "goes.mp3"),
        ("Skipped", "11.txt"),
    ] {
        second.assert_says(&format!("{verb} {}", path(name).display()));
    }
    second.assert_says(&format!(
        "Moved {} to {}, id {} to {}",
        path("moves.mp3").display(),
        path("moved.mp3").display(),
        hyphenated("moves.mp3"),
        hyphenated("moved.mp3")
    ));
    for line in ["Added", "Removed", "Moved"] {
        let lines = second.stderr().lines().filter(|text| text.contains(&format!("{line} /"))).count();
        assert_eq!(lines, 1, "{line}: {}", second.stderr());
    }
    assert_valid(&[first, report]);
}

/// A report comes however a scan ends.
#[test]
fn scans_that_fail_report_too() {
    let home = Home::new();
    for song in 0..30 {
        home.add(format!("a/{song}.mp3"));
    }
    home.add("b/song.mp3");
    let music = home.music_text();
    home.scan([&music]).assert_exited(0);
    let mut reports = Vec::new();
    for song in 0..30 {
        fs::remove_file(home.music().join(format!("a/{song}.mp3"))).expect("remove");
    }
    let refused = home.report([&music]);
    assert_eq!(refused["exit_code"], 4);
    let loss = &refused["losses"][0];
    assert_eq!((&loss["place"], &loss["lost"], &loss["of"]), (&json!(music), &json!(30), &json!(31)));
    assert_eq!(loss["folders"][0]["path"], home.music().join("a").display().to_string());
    assert!(refused["error"].as_str().expect("a text").contains("30 of 31 songs"), "{refused}");
    assert_eq!(refused["counts"]["found"], 1);
    reports.push(refused);
    for (arguments, code) in [
        (vec!["--json", "/no/such/folder"], 3),
        (vec!["--json", "--only", "/elsewhere"], 2),
        (vec!["--json"], 2),
        (vec!["--json", "-c", "/no/such/file", &music], 2),
        (vec!["--json", "--files-from", "/no/such/file"], 2),
        (vec!["--json", "--files-from", "-", &music], 2),
        (vec!["--json", "-d", "sqlite:////no/such/folder/x.sqlite", &music], 1),
    ] {
        let scan = home.scan(&arguments);
        let report = scan.assert_exited(code).report();
        assert!(report["error"].is_string() && report["collection"].is_null(), "{report}");
        reports.push(report);
    }
    let url = "postgresql://user:secret@127.0.0.1:1/none";
    let closed = Scan::of(home.command().args(["--json", "-d", url]).arg(home.music()));
    let report = closed.assert_exited(1).report();
    assert!(report["database"]["kind"] == "postgresql" && !report.to_string().contains("secret"), "{report}");
    reports.push(report);
    assert_valid(&reports);
}

#[test]
fn the_validator_finds_faults() {
    let home = Home::new();
    home.add("song.mp3");
    let report = home.report([&home.music_text()]);
    assert_valid(std::slice::from_ref(&report));
    let without = |key: &str| {
        let mut report = report.clone();
        report.as_object_mut().expect("an object").remove(key);
        report
    };
    for key in ["counts", "exit_code", "reload"] {
        assert!(schema_errors(&[without(key)]).is_some_and(|errors| errors.contains(key)), "{key}");
    }
    let mut wrong = report.clone();
    wrong["counts"]["read"] = json!(-1);
    assert!(schema_errors(&[wrong]).is_some());
}

/// Numbers that a scan gives whether it stores or not: all but the times, and that it stored.
fn comparable(mut report: Value) -> Value {
    let fields = report.as_object_mut().expect("an object");
    for field in ["pid", "started", "ended", "seconds", "dry_run"] {
        fields.remove(field).expect(field);
    }
    // Why nothing is stored does not differ either. The revision grows when something is.
    if let Some(database) = fields["database"].as_object_mut() {
        database.remove("written");
        database.remove("revision");
    }
    report
}

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// One edit of the tree, of any kind that people make.
fn edit(home: &Home, random: &mut Random, step: usize) {
    let song = |number: usize| format!("{}/{}.mp3", number % 5, number);
    let path = home.music().join(song(random.below(60)));
    match random.below(9) {
        0 | 1 => add_sized(home, &song(random.below(60)), step),
        2 => {
            let _ = fs::remove_file(&path);
        }
        3 if path.exists() => {
            let to = home.music().join(format!("moved{}", random.below(3)));
            fs::create_dir_all(&to).expect("folder");
            fs::rename(&path, to.join(format!("{step}.mp3"))).expect("rename");
        }
        4 if path.exists() => fs::write(&path, "no song any more").expect("file"),
        5 => {
            let (from, to) = (home.music().join(random.below(5).to_string()), home.music().join("other"));
            if from.is_dir() && !to.exists() {
                fs::rename(from, to).expect("rename");
            }
        }
        6 => fs::write(home.music().join(format!("{step}.txt")), "a text").expect("file"),
        7 => fs::write(home.music().join(".avalonignore"), format!("{}/\n", random.below(5))).expect("file"),
        8 => {
            let _ = fs::remove_dir_all(home.music().join(random.below(5).to_string()));
        }
        _ => {}
    }
}

/// Also where the scan is refused, or parts cannot be reached.
#[test]
fn a_dry_run_reports_as_the_scan_after_it() {
    let home = Home::new();
    let music = home.music_text();
    let mut codes = Vec::new();
    let mut reports = Vec::new();
    for store in Store::both(&home) {
        for seed in 0..4 {
            let mut random = Random(seed);
            let _ = fs::remove_dir_all(home.music());
            fs::create_dir(home.music()).expect("folder");
            store.clear();
            for number in 0..40 {
                add_sized(&home, &format!("{}/{number}.mp3", number % 5), number);
            }
            for step in 0..6 {
                for _ in 0..random.below(4) {
                    edit(&home, &mut random, 100 + step);
                }
                if step == 4 && seed % 2 == 1 {
                    // Most of the collection, as when a disk is not mounted.
                    for folder in 0..4 {
                        let _ = fs::remove_dir_all(home.music().join(folder.to_string()));
                    }
                }
                let number = random.below(40);
                let broken = home.music().join(format!("{}/{number}.mp3", number % 5));
                let scan = |dry_run: Option<&str>| {
                    let mut command = home.command();
                    command.args(["--json", "-d", &store.url(), &music]).args(dry_run);
                    if step % 3 == 2 {
                        command.env("LD_PRELOAD", shim::errors()).env("SHIM_PATH", &broken);
                        command.env("SHIM_CALL", "open").env("SHIM_ERRNO", "5");
                    }
                    Scan::of(&mut command)
                };
                let songs = || (store.count("tracks") > 0).then(|| store.songs());
                let before = songs();
                let dry = scan(Some("--dry-run"));
                assert_eq!(songs(), before, "seed {seed}, step {step}");
                let real = scan(None);
                assert_eq!(dry.output.status.code(), real.output.status.code(), "seed {seed}, step {step}");
                let (dry, real) = (dry.report(), real.report());
                assert_eq!(comparable(dry.clone()), comparable(real.clone()), "seed {seed}, step {step}");
                assert_eq!(real["database"]["written"], real["database"]["differs"] == true);
                codes.push(real["exit_code"].as_u64().expect("a number"));
                reports.extend([dry, real]);
            }
        }
    }
    assert_valid(&reports);
    // The edits must not all be of one kind.
    for code in [0, 4, 5] {
        assert!(codes.contains(&code), "{codes:?}");
    }
}

#[test]
fn a_dry_run_leaves_no_file() {
    let home = Home::new();
    home.add("song.mp3");
    let report = home.report(["--dry-run", &home.music_text()]);
    assert_eq!((&report["counts"]["added"], &report["collection"]["songs"]), (&json!(1), &json!(1)));
    let left: Vec<_> = fs::read_dir(home.folder.path()).expect("folder").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn paths_come_from_a_file_or_a_pipe() {
    let home = Home::new();
    home.add("a/old.mp3");
    let music = home.music_text();
    home.scan([&music]).assert_exited(0);
    let names = ["a/new.mp3", "b/other.mp3", "b/with\nbreak.mp3", "c/left out.mp3"];
    let [new, other, odd, _] = names.map(|name| home.add(name));
    let list = home.path("list");
    fs::write(&list, format!("\n{}\n{}\n", new.display(), other.parent().expect("a folder").display()))
        .expect("a list");
    let report = home.report(["--files-from", list.to_str().expect("UTF-8")]);
    assert_eq!((&report["partial"], &report["counts"]["added"]), (&json!(true), &json!(3)), "{report}");
    fs::remove_file(&odd).expect("remove");
    let mut child = home
        .command()
        .args(["-d", &home.url(), "--json", "--files-from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("avalon-scan");
    // A path below another is read once; relative ones begin at the working directory.
    let paths = format!("{}\0music/b\0{}\0", odd.display(), other.display());
    child.stdin.take().expect("a pipe").write_all(paths.as_bytes()).expect("avalon-scan reads");
    let scan = Scan { output: child.wait_with_output().expect("an end") };
    let counts = &scan.assert_exited(0).report()["counts"];
    assert_eq!((&counts["removed"], &counts["found"]), (&json!(1), &json!(1)), "{counts}");
    assert!(!home.ids().contains(&id(&odd)) && home.songs().len() == 3);
    // Nothing to look at is no error.
    fs::write(&list, "").expect("a list");
    let report = home.report(["--files-from", list.to_str().expect("UTF-8")]);
    assert_eq!((&report["exit_code"], &report["database"]["written"]), (&json!(0), &json!(false)));
}
