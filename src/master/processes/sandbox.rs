//! The rights of a worker: it reads the system's libraries, writes to its open files, and answers on its
//! sockets.
//!
//! So a request that takes control of a worker can neither read other files, open addresses, signal other
//! processes nor run another program. The protection is best effort: an older kernel enforces less of it.
//! Both mechanisms hold for the calling thread and the threads that it starts, so a worker applies them
//! before it starts any.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule};

use crate::master::error::MasterError;

/// The paths that the C library and backtraces read; `/proc` is for a process's own memory and threads. All
/// are folders or devices: a rule holds for the file that exists when the rule is made, and not for a later
/// replacement. So a worker reads no file that may be replaced: the master looks hosts up and opens logs.
const READ: [&str; 7] = ["/dev/null", "/dev/urandom", "/lib", "/lib64", "/proc", "/usr/lib", "/usr/lib64"];

/// System calls with which a process runs another program, watches or changes other processes, or administers
/// the machine. A list of allowed calls would need a change for each new version of the C library, and would
/// stop the service where it lacks one; the systemd unit has such a list in addition.
const REFUSED: [libc::c_long; 50] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_listen,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Confines this process, which must have one thread, for good, in two steps with a call of `between` between them. Returns how much of it the kernel enforces.
///
/// # Errors
/// The mechanism that is missing; the process may be confined in part.
pub(crate) fn confine(between: fn()) -> Result<&'static str, MasterError> {
    let reached = restrict_reach().map_err(|error| MasterError::Failed(format!("landlock: {error}")))?;
    between();
    refuse_calls().map_err(|error| MasterError::Failed(format!("seccomp: {error}")))?;
    Ok(match reached {
        RulesetStatus::FullyEnforced => "full",
        RulesetStatus::PartiallyEnforced => "as far as this kernel knows landlock",
        RulesetStatus::NotEnforced => "system calls only, as this kernel has no landlock",
    })
}

fn restrict_reach() -> Result<RulesetStatus, RulesetError> {
    let abi = ABI::V6;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(abi))?
        .create()?;
    for path in readable() {
        rules = allow(rules, &path, read)?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// Allows a path. One that does not exist needs no rule, and cannot have one.
fn allow(
    rules: landlock::RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V6) };
    rules.add_rule(PathBeneath::new(fd, access))
}

fn readable() -> impl Iterator<Item = PathBuf> {
    // A backtrace reads the names of its functions from the program.
    READ.iter().map(PathBuf::from).chain(env::current_exe().ok())
}

fn refuse_calls() -> Result<(), Box<dyn std::error::Error>> {
    let rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    // This sets PR_SET_NO_NEW_PRIVS as well.
    seccompiler::apply_filter(&program)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::process::Command;

    use super::*;

    /// The variable that tells the test's child from the test.
    const CONFINED: &str = "AVALON_TEST_CONFINED";

    /// Runs in a child, as confinement is for good.
    #[test]
    fn confined_process_reaches_its_log_and_nothing_else() {
        let Some(folder) = env::var_os(CONFINED).map(PathBuf::from) else {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("secret"), "").unwrap();
            let name = "master::processes::sandbox::tests::confined_process_reaches_its_log_and_nothing_else";
            let output = Command::new(env::current_exe().unwrap())
                .args([name, "--exact", "--nocapture"])
                .env(CONFINED, folder.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut log = OpenOptions::new().append(true).create(true).open(folder.join("log")).unwrap();
        // In a thread, as the test has more than one; it stands for the process.
        std::thread::spawn(move || {
            confine(|| {}).unwrap();
            for file in ["/etc/shadow", "/etc/passwd", "/etc/hosts"]
                .map(PathBuf::from)
                .iter()
                .chain([&folder.join("secret")])
            {
                assert!(File::open(file).is_err(), "{}", file.display());
            }
            assert!(fs::write(folder.join("new"), "").is_err());
            assert!(fs::remove_file(folder.join("secret")).is_err());
            assert!(OpenOptions::new().append(true).open(folder.join("log")).is_err());
            assert!(OpenOptions::new().write(true).open("/dev/null").is_err());
            assert!(File::open("/dev/zero").is_err());
            log.write_all(b"line").unwrap();
            fs::read_to_string("/proc/self/status").unwrap();
            assert!(TcpListener::bind("127.0.0.1:0").is_err());
            assert!(Command::new("/bin/true").status().is_err());
            // These are needed by Sentry, statsd and clients.
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", address).unwrap();
            TcpStream::connect(address).unwrap();
            listener.accept().unwrap();
            std::thread::spawn(|| ()).join().unwrap();
        })
        .join()
        .unwrap();
    }
}
