//! The output of `scripts/package`, for the programs of the tests: its contents, and its life in a
//! clean Debian under a real systemd, from the installation to the last trace.

mod foreign;
mod image;
mod life;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::harness::systemd_box;

/// The programs, in the order of a sorted list; all are links to this one.
const PROGRAMS: [&str; 4] = ["avalon-echo-config", PROGRAM, "avalon-scan", "avalonctl"];
const PROGRAM: &str = "avalon-master";

/// Two versions of the same programs.
const VERSIONS: [&str; 2] = ["1.0.0", "1.0.1"];

/// The first version, made once for all tests.
static FIRST: LazyLock<PathBuf> = LazyLock::new(|| package("first", VERSIONS[0], "exec"));

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A folder with the file that is all programs.
static BINARIES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(env!("CARGO_BIN_EXE_avalon"), folder.join("avalon")).expect("the programs");
    folder
});

/// Packages into the folder `name`, by a line of shell that ends in the script.
fn package(name: &str, version: &str, line: &str) -> PathBuf {
    package_with(name, version, line, &[])
}

/// The same, with variables.
fn package_with(name: &str, version: &str, line: &str, variables: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{line} \"$0\"")]).arg(root().join("scripts/package"));
    command.current_dir(root()).env("PACKAGE_BINARIES", BINARIES.as_path());
    // How small they are is of no interest.
    command.env("PACKAGE_FOLDER", &folder).env("PACKAGE_VERSION", version).env("PACKAGE_QUICK", "1");
    command.envs(variables.iter().copied());
    // What cargo tells a test about its package would have it build dependencies again that look at it.
    for (variable, _) in std::env::vars_os() {
        let own = ["CARGO_MANIFEST", "CARGO_PKG", "CARGO_CRATE", "CARGO_PRIMARY"];
        if variable.to_str().is_some_and(|variable| own.iter().any(|prefix| variable.starts_with(prefix))) {
            command.env_remove(variable);
        }
    }
    run(&mut command);
    folder
}

/// The names of the files in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let text = |entry| name(entry).into_string().expect("UTF-8");
    fs::read_dir(folder).expect("a folder").map(text).collect()
}

/// The one file in a folder whose name ends so, but for debug information.
fn file(folder: &Path, end: &str) -> PathBuf {
    let mut all = names(folder);
    all.retain(|name| name.ends_with(end) && !name.contains("-dbgsym_"));
    assert_eq!(all.len(), 1, "{all:?}");
    folder.join(all.pop_first().expect("a file"))
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    // Called elsewhere, in another environment.
    let again = package("again", VERSIONS[0], "cd src && umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8");
    let all = names(&FIRST);
    assert_eq!(all, names(&again));
    assert_eq!(all.len(), 8, "{all:?}");
    for name in all {
        assert!(
            fs::read(FIRST.join(&name)).expect("a file") == fs::read(again.join(&name)).expect("a file"),
            "{name}"
        );
    }
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&again));
}

/// Paths below /usr that both packages have.
fn contents() -> Vec<String> {
    let mut all = Vec::new();
    for name in PROGRAMS {
        all.push(format!("bin/{name}"));
        all.push(format!("share/bash-completion/completions/{name}"));
        all.push(format!("share/zsh/vendor-completions/_{name}"));
        all.push(format!("share/fish/vendor_completions.d/{name}.fish"));
    }
    for page in [
        "man1/avalon-echo-config.1",
        "man5/avalon.toml.5",
        "man8/avalon-master.8",
        "man8/avalon-scan.8",
        "man8/avalonctl.8",
    ] {
        all.push(format!("share/man/{page}"));
    }
    for unit in [
        "avalon.service",
        "avalon.socket",
        "avalon-scan.service",
        "avalon-scan.timer",
        "avalon-watch.service",
    ] {
        all.push(format!("lib/systemd/system/{unit}"));
    }
    all.extend(["lib/sysusers.d/avalon.conf", "lib/tmpfiles.d/avalon.conf"].map(str::to_owned));
    all
}

#[test]
fn the_debian_package_has_everything() {
    let deb = file(&FIRST, ".deb");
    let list = run(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    let has = |path: &str| {
        let ends = [format!(" ./{path}"), format!(" ./{path} -> {PROGRAM}")];
        list.lines().find(|line| ends.iter().any(|end| line.ends_with(end)))
    };
    for path in contents() {
        let path = format!("usr/{path}{}", if path.starts_with("share/man") { ".gz" } else { "" });
        let line = has(&path).unwrap_or_else(|| panic!("{path}: {list}"));
        let mode = match path.strip_prefix("usr/bin/") {
            Some(PROGRAM) => "-rwxr-xr-x",
            Some(_) => "lrwxrwxrwx",
            None => "-rw-r--r--",
        };
        assert!(line.starts_with(&format!("{mode} root/root")), "{line}");
    }
    assert!(
        has("etc/avalon/avalon.toml").is_some()
            && has("usr/share/doc/avalon-music-server/copyright").is_some()
    );
    let field =
        |name: &str| run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name)).trim().to_owned();
    assert_eq!(
        (field("Package"), field("Version")),
        ("avalon-music-server".to_owned(), VERSIONS[0].to_owned())
    );
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
}

/// By each name the one file is the program of this name.
#[test]
fn one_file_is_all_programs() {
    let deb = unpacked_deb(&file(&FIRST, ".deb"));
    for name in PROGRAMS {
        let said = run(Command::new(deb.path().join("usr/bin").join(name)).arg("--version"));
        assert_eq!(said, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
    let program = Command::new(env!("CARGO_BIN_EXE_avalon")).output().expect("a program");
    let said = String::from_utf8_lossy(&program.stderr);
    assert!(program.status.code() == Some(2) && PROGRAMS.iter().all(|name| said.contains(name)), "{said}");
}

/// The contents of a package of Debian's, in a folder.
fn unpacked_deb(deb: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    run(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(folder.path()));
    folder
}

/// The name of a program's build, by which debuggers find its debug information.
fn build_id(program: &Path) -> String {
    let notes = run(Command::new("readelf").arg("--notes").arg(program));
    notes.split_once("Build ID: ").expect("a build id").1.trim().to_owned()
}

#[test]
fn debug_information_is_a_package_of_its_own() {
    let deb = unpacked_deb(&file(&FIRST, ".deb"));
    let program = deb.path().join("usr/bin").join(PROGRAM);
    let sections = run(Command::new("readelf").args(["--sections", "--wide"]).arg(&program));
    // Names of functions stay, for backtraces.
    assert!(!sections.contains(".debug_line") && sections.contains(".symtab"), "{sections}");
    let id = build_id(&program);
    let place = format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]);
    let architecture = run(Command::new("dpkg").arg("--print-architecture"));
    let name = format!("avalon-music-server-dbgsym_{}_{}.deb", VERSIONS[0], architecture.trim());
    let dbgsym = FIRST.join(name);
    let debug = unpacked_deb(&dbgsym);
    // The archive has the same contents.
    let all = tempfile::tempdir().expect("a folder");
    run(Command::new("tar").arg("-xJf").arg(file(&FIRST, "-debug.tar.xz")).arg("-C").arg(all.path()));
    let (one, other) = (debug.path().join(&place), all.path().join(&place));
    assert!(fs::read(&one).expect("a file") == fs::read(other).expect("a file"));
    let symbols = run(Command::new("nm").arg(&one));
    let main = symbols.lines().find(|line| line.contains("6config4echo4main"));
    let address = main.expect("a function").split(' ').next().expect("an address");
    let line = run(Command::new("addr2line").arg("-e").arg(&one).arg(address));
    assert!(line.contains("src/config/echo.rs:"), "{line}");
    let depends = run(Command::new("dpkg-deb").arg("--field").arg(&dbgsym).arg("Depends"));
    assert_eq!(depends.trim(), format!("avalon-music-server (= {})", VERSIONS[0]));
}

#[test]
fn the_archive_is_complete_and_names_its_dependencies() {
    let archive = file(&FIRST, ".tar.gz");
    let folder = tempfile::tempdir().expect("a folder");
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()));
    let name = archive.file_name().expect("a name").to_str().expect("UTF-8").trim_end_matches(".tar.gz");
    let tree = folder.path().join(name);
    let mut all = contents();
    all.extend(
        ["LICENSE", "README.md", "INSTALL.md", "etc/avalon.toml", "etc/default.toml"].map(str::to_owned),
    );
    for path in all {
        let mode = fs::metadata(tree.join(&path)).expect(&path).permissions().mode() & 0o777;
        assert_eq!(mode, if path.starts_with("bin/") { 0o755 } else { 0o644 }, "{path}");
    }
    // The tests' programs use the system's C library, and the name tells the oldest that will do.
    let glibc = name.split_once("-linux-glibc").expect("a version of glibc").1;
    let install = fs::read_to_string(tree.join("INSTALL.md")).expect("notes");
    assert!(install.contains(&format!("need glibc {glibc} or newer")) && !install.contains('@'), "{install}");
    for unit in names(&tree.join("lib/systemd/system")) {
        let text = fs::read_to_string(tree.join("lib/systemd/system").join(&unit)).expect("a unit");
        assert!(!text.contains("/usr/bin/avalon"), "{unit}: {text}");
    }
}

/// Links in the pages below a folder that lead to no file.
fn dead_links(folder: &Path) -> Vec<String> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            dead.extend(dead_links(&path));
        } else if path.extension().is_some_and(|end| end == "md") {
            let text = fs::read_to_string(&path).expect("a page");
            let links =
                text.split("](").skip(1).filter_map(|rest| rest.split_once([')', '#'])).map(|(link, _)| link);
            let files = links.filter(|link| !link.is_empty() && !link.contains("://"));
            let missing = files.filter(|link| !folder.join(link).exists());
            dead.extend(missing.map(|link| format!("{}: {link}", path.display())));
        }
    }
    dead
}

#[test]
fn links_in_the_packages_lead_to_files() {
    for (end, unpack) in [(".deb", "dpkg-deb --extract"), (".tar.gz", "tar --strip-components=1 -xzf")] {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = file(&FIRST, end);
        let to = if end == ".deb" { "" } else { "-C" };
        let command = format!("{unpack} {} {to} {}", archive.display(), folder.path().display());
        run(Command::new("/bin/sh").args(["-c", &command]));
        let doc = if end == ".deb" { "usr/share/doc" } else { "" };
        let doc = folder.path().join(doc);
        assert!(dead_links(&doc).is_empty(), "{:?}", dead_links(&doc));
        let pages = run(Command::new("find").arg(&doc).args(["-name", "*.md"]));
        assert!(pages.lines().count() > 40, "{pages}");
    }
}

/// References to all crates that are built.
fn crates_of_cargo_tree() -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let output = command.current_dir(root()).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let reference = |line: &str| {
        let (name, version) = line.split_once(" v").expect("a name and a version");
        let version = version.split(' ').next().expect("a version").replace('+', "%2B");
        format!("pkg:cargo/{name}@{version}")
    };
    text.lines().map(reference).collect()
}

/// The shape that CycloneDX 1.5 asks for, and that it is about these programs.
#[test]
fn the_bill_of_materials_is_whole() {
    let text = fs::read(file(&FIRST, ".cdx.json")).expect("a file");
    let bill: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(
        (&bill["bomFormat"], &bill["specVersion"], &bill["version"]),
        (&"CycloneDX".into(), &"1.5".into(), &1.into())
    );
    let serial =
        bill["serialNumber"].as_str().and_then(|serial| serial.strip_prefix("urn:uuid:")).expect("a serial");
    uuid::Uuid::parse_str(serial).expect("a UUID");
    let own = bill["metadata"]["component"]["bom-ref"].as_str().expect("a reference");
    assert_eq!(own, "pkg:cargo/avalon-music-server@1.0.0");
    let mut refs = BTreeSet::from([own]);
    for component in bill["components"].as_array().expect("components") {
        for key in ["name", "version", "purl"] {
            assert!(component[key].as_str().is_some_and(|text| !text.is_empty()), "{component}");
        }
        assert_eq!(component["hashes"][0]["content"].as_str().map(str::len), Some(64), "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        assert!(refs.insert(component["bom-ref"].as_str().expect("a reference")), "{component}");
    }
    let name = |name: &str| refs.iter().any(|found| found.starts_with(&format!("pkg:cargo/{name}@")));
    assert!(name("hyper") && name("libsqlite3-sys") && name("zstd-sys"));
    assert!(!name("proptest") && !name("clap_mangen"), "what only tests use is no part of the programs");
    assert_eq!(refs, crates_of_cargo_tree().iter().map(String::as_str).collect());
    let dependencies = bill["dependencies"].as_array().expect("dependencies");
    assert_eq!(dependencies.len(), refs.len());
    for dependency in dependencies {
        let used = dependency["dependsOn"].as_array().expect("a list").iter().chain([&dependency["ref"]]);
        for used in used {
            assert!(refs.contains(used.as_str().expect("a reference")), "{used}");
        }
    }
}

#[test]
fn in_a_clean_debian() {
    if systemd_box::is_inside() {
        return life::play();
    }
    let clean = root().join("target/peers/debian");
    systemd_box::run_test("package::in_a_clean_debian", &clean, |shared| {
        let second = package("second", VERSIONS[1], "exec");
        for (from, to) in
            [(FIRST.as_path(), "first"), (&second, "second"), (&root().join("scripts/sample-music"), "music")]
        {
            run(Command::new("cp").arg("-r").arg(from).arg(shared.join(to)));
        }
    });
}
