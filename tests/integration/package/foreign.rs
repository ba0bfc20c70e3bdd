//! Packages for other systems than this machine's: for those with rpm, and for machines of arm64.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use walkdir::WalkDir;

use super::{FIRST, PROGRAM, VERSIONS, file, package_with, run, unpacked_deb};
/// The files below a folder, with their bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = WalkDir::new(folder).into_iter().map(|entry| entry.expect("an entry"));
    let name = |path: &Path| path.strip_prefix(folder).expect("below").to_str().expect("UTF-8").to_owned();
    files
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| (name(entry.path()), fs::read(entry.path()).expect("a file")))
        .collect()
}

fn rpm(arguments: &[&str], package: &Path) -> String {
    // Nothing of this machine's own is asked or made.
    let folder = tempfile::tempdir().expect("a folder");
    run(Command::new("rpm").arg("--dbpath").arg(folder.path()).args(arguments).arg(package))
}

/// rpm's attributes of the files of a package, by their names.
fn listed(package: &Path) -> BTreeMap<String, String> {
    let format = "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]";
    let text = rpm(&["--query", "--package", "--queryformat", format], package);
    let lines = text.lines().map(|line| line.split_once(' ').expect("a name"));
    lines.map(|(name, rest)| (name.trim_start_matches('/').to_owned(), rest.trim().to_owned())).collect()
}

/// The files of the package for Debian, by the names that they have in the one for rpm.
fn expected(deb: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = contents(unpacked_deb(deb).path()).into_iter();
    // Only Debian reads these.
    let others = files.filter(|(name, _)| !name.contains("/lintian/") && !name.ends_with("/changelog.gz"));
    others.map(|(name, bytes)| (name.replace("/vendor-completions/_", "/site-functions/_"), bytes)).collect()
}

#[test]
fn the_package_for_rpm_has_the_same_files() {
    let package = file(&FIRST, ".rpm");
    let folder = tempfile::tempdir().expect("a folder");
    let unpack = "rpm2cpio \"$0\" | cpio --extract --make-directories --quiet";
    run(Command::new("sh").args(["-c", unpack]).arg(&package).current_dir(folder.path()));
    let (files, expected) = (contents(folder.path()), expected(&file(&FIRST, ".deb")));
    assert_eq!(files.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(files == expected, "the bytes differ");
    for (name, what) in listed(&package) {
        let mode = match name.strip_prefix("usr/bin/") {
            Some(PROGRAM) => "-rwxr-xr-x",
            Some(_) => "lrwxrwxrwx",
            None => "-rw-r--r--",
        };
        let flags = match &*name {
            "etc/avalon/avalon.toml" => " cn",
            name if name.starts_with("usr/share/doc/") || name.starts_with("usr/share/man/") => " d",
            _ => "",
        };
        assert_eq!(what, format!("{mode} root root{flags}"), "{name}");
    }
}

#[test]
fn rpm_reads_what_the_package_is_and_does() {
    let package = file(&FIRST, ".rpm");
    let machine = run(Command::new("uname").arg("-m"));
    let what =
        rpm(&["--query", "--package", "--queryformat", "%{NAME} %{VERSION} %{ARCH} %{LICENSE}"], &package);
    assert_eq!(what, format!("avalon-music-server {} {} MIT", VERSIONS[0], machine.trim()));
    let requires = rpm(&["--query", "--package", "--requires"], &package);
    assert!(requires.contains("libc.so.6(GLIBC_2.") && requires.contains("systemd\n"), "{requires}");
    let scripts = rpm(&["--query", "--package", "--scripts"], &package);
    for part in
        ["systemd-sysusers /usr/lib", "avalonctl upgrade", "systemctl --quiet disable", "reset-failed"]
    {
        assert!(scripts.contains(part), "{part}: {scripts}");
    }
    // Its scripts are sound, each by itself.
    for tag in ["%{POSTIN}", "%{PREUN}", "%{POSTUN}"] {
        let script = rpm(&["--query", "--package", "--queryformat", tag], &package);
        run(Command::new("sh").args(["-n", "-c", &script]));
    }
}

/// The programs of the test are of this machine; those of the other one are the least that a compiler makes.
#[cfg(target_arch = "x86_64")]
#[test]
fn packages_for_arm64_are_of_arm64() {
    let programs = tempfile::tempdir().expect("a folder");
    let source = programs.path().join("main.c");
    fs::write(&source, "int main(void) { return 0; }\n").expect("written");
    let mut compiler = Command::new("aarch64-linux-gnu-gcc");
    run(compiler.args(["-g", "-static", "-o"]).arg(programs.path().join("avalon")).arg(&source));
    let variables = [
        ("PACKAGE_ARCHITECTURES", "arm64"),
        ("PACKAGE_BINARIES_ARM64", programs.path().to_str().expect("UTF-8")),
    ];
    let folder = package_with("arm64", VERSIONS[0], "exec", &variables);
    let deb = file(&folder, "_arm64.deb");
    let field =
        |name: &str| run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name)).trim().to_owned();
    assert_eq!(field("Architecture"), "arm64");
    // Its programs bring their C library.
    assert!(!field("Depends").contains("libc6"), "{}", field("Depends"));
    let own = file(&FIRST, ".deb");
    let names = |deb: &Path| contents(unpacked_deb(deb).path()).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&deb), names(&own));
    let machine =
        run(Command::new("readelf").arg("-h").arg(unpacked_deb(&deb).path().join("usr/bin/avalonctl")));
    assert!(machine.contains("AArch64"), "{machine}");
    let package = file(&folder, "-1.aarch64.rpm");
    assert_eq!(listed(&package).keys().collect::<Vec<_>>(), expected(&own).keys().collect::<Vec<_>>());
    let dbgsym = unpacked_deb(&folder.join(format!("avalon-music-server-dbgsym_{}_arm64.deb", VERSIONS[0])));
    assert!(contents(dbgsym.path()).keys().any(|name| name.contains("/.build-id/")));
}
