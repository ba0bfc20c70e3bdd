//! The effects of scripts/deploy on a host under systemd, as a user whose only rights are those in
//! the drop-in, on a service that a package has served before.

use std::fs;

use super::{Load, Machine, assert_active, main_pid, sh, sh_ok, show};
use crate::harness::eventually;

/// In the test itself, as the folder of the project may be hidden here.
const ON_HOST: &str = include_str!("../../../scripts/deploy-host");
const DROP_IN: &str = include_str!("../../../systemd/avalon.service.d/deploy.conf");

const FIRST: &str = "20261124T120001Z-00000001";
const SECOND: &str = "20261124T120002Z-00000002";
/// The files of a release, with the digests beside it.
const PACK: &str = "mkdir -p /opt/pack && cd /usr/bin && sha256sum avalon-master avalon-scan avalonctl | \
    sed 's,  ,  bin/,' >/opt/pack/SHA256SUMS && echo test >/opt/pack/RELEASE && \
    tar -cf /opt/pack/tar --transform='s,^avalon,bin/avalon,' avalon-master avalon-scan avalonctl \
    -C /opt/pack SHA256SUMS RELEASE";

/// Runs a command of deploy-host as scripts/deploy has it run.
fn on_host(words: &str) -> (i32, String) {
    let variables = "DEPLOY_ROOT=/opt/avalon DEPLOY_USER=avalon DEPLOY_SOCKET=/run/avalon/control \
        DEPLOY_UNIT=avalon.service DEPLOY_START= DEPLOY_HEARTBEAT=/avalon/heartbeat DEPLOY_PATIENCE=60 \
        DEPLOY_DRY_RUN=";
    sh(&format!("runuser -u deploy -- env {variables} bash /opt/deploy-host {words} </opt/pack/tar"))
}

fn on_host_ok(words: &str) -> String {
    let (code, text) = on_host(words);
    assert_eq!(code, 0, "{words}: {text}");
    text
}

/// The release whose file the main process runs.
fn assert_main_runs(release: &str) {
    let exe = fs::read_link(format!("/proc/{}/exe", main_pid())).expect("the main process");
    assert_eq!(exe.to_str(), Some(format!("/opt/avalon/releases/{release}/bin/avalon-master").as_str()));
    assert_active();
}

/// A user `deploy` with the rights that the comment of the drop-in gives, and a folder of his own.
fn prepare_host() {
    sh_ok("useradd --system --shell /bin/bash deploy && install -d -o deploy /opt/avalon");
    let rights = DROP_IN.lines().filter_map(|line| line.strip_prefix("#   "));
    let rights: Vec<&str> = rights.filter(|line| line.starts_with("deploy ALL=")).collect();
    assert_eq!(rights.len(), 3);
    fs::write("/etc/sudoers.d/avalon-deploy", rights.join("\n") + "\n").expect("rights");
    sh_ok("chmod 440 /etc/sudoers.d/avalon-deploy && visudo -c");
    fs::write("/opt/deploy-host", ON_HOST).expect("a script");
    sh_ok(PACK);
}

impl Machine {
    pub(super) fn deploys_under_load(&self) {
        prepare_host();
        let loads = self.load();
        let (code, text) = on_host(&format!("prepare {FIRST} 1000000"));
        assert_eq!(code, 10, "{text}");
        on_host_ok(&format!("receive {FIRST}"));
        // The running service is another program, which no upgrade replaces: told, and left alone.
        let packaged = main_pid();
        let (code, text) = on_host("restart");
        assert!(code == 1 && text.contains("ln -s releases/"), "{code} {text}");
        assert_eq!(main_pid(), packaged);
        assert!(!fs::exists("/opt/avalon/current").expect("a folder"));
        // As it says.
        fs::write("/etc/systemd/system/avalon.service.d/deploy.conf", DROP_IN).expect("a drop-in");
        sh_ok(&format!("ln -s releases/{FIRST} /opt/avalon/current && systemctl daemon-reload"));
        sh_ok("systemctl restart avalon.service");
        assert_main_runs(FIRST);
        // From now on there is no other restart than an upgrade.
        let invocation = show("InvocationID");
        on_host_ok("restart");
        assert_main_runs(FIRST);
        on_host_ok(&format!("receive {SECOND}"));
        assert_main_runs(FIRST);
        let text = on_host_ok("restart");
        assert_eq!(text, format!("{SECOND} serves\n"));
        assert_main_runs(SECOND);
        on_host_ok("rollback");
        assert_main_runs(FIRST);
        assert_eq!(show("InvocationID"), invocation);
        let text = on_host_ok("status");
        assert!(text.contains(&format!("serving, of {FIRST}\nheartbeat OKOKOK\n")), "{text}");
        loads.into_iter().for_each(Load::assert_nothing_lost);
        // Where nothing runs, it is started.
        sh_ok("systemctl stop avalon.service avalon.socket");
        on_host_ok(&format!("rollback {SECOND}"));
        assert_main_runs(SECOND);
        // Back to the package, for those who come after.
        sh_ok("rm /etc/systemd/system/avalon.service.d/deploy.conf && systemctl daemon-reload");
        sh_ok("systemctl stop avalon.service && systemctl start avalon.socket avalon.service");
        eventually("the package's program", || {
            let exe = fs::read_link(format!("/proc/{}/exe", main_pid())).ok()?;
            (exe.to_str() == Some("/usr/bin/avalon-master")).then_some(())
        });
    }
}
