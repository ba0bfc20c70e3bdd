//! Streaming replicas of a cluster.

use super::{Postgres, as_user, binary, new_folder, run, server_user};
use crate::harness::eventually;

impl Postgres {
    /// A replica of this cluster, which follows it as long as both run.
    pub(crate) fn start_replica(&self) -> Postgres {
        let started = (0..5).find_map(|_| self.try_start_replica());
        started.expect("the replica does not start; its log is above")
    }

    fn try_start_replica(&self) -> Option<Postgres> {
        let owner = server_user();
        let folder = new_folder(owner.as_ref());
        let mut backup = as_user(owner.as_ref(), binary("pg_basebackup"));
        backup.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--username=avalon"]);
        backup.arg("--host").arg(&self.folder).args(["--port", &self.port.to_string()]);
        run(backup.arg("--pgdata").arg(folder.join("data")));
        Postgres::launch(folder, owner.as_ref(), false)
    }

    /// Has this replica replay each commit so late.
    pub(crate) fn lag(&self, by: &str) {
        let mut client = self.client("postgres");
        client
            .batch_execute(&format!("ALTER SYSTEM SET recovery_min_apply_delay = '{by}'"))
            .expect("ALTER SYSTEM");
        client.execute("SELECT pg_reload_conf()", &[]).expect("pg_reload_conf");
        eventually("the delay", || {
            let shown = client.query_one("SHOW recovery_min_apply_delay", &[]).expect("SHOW");
            (shown.get::<_, &str>(0) == by).then_some(())
        });
    }

    /// Makes this replica a primary.
    pub(crate) fn promote(&self) {
        let row = self.client("postgres").query_one("SELECT pg_promote()", &[]);
        assert!(row.expect("pg_promote").get::<_, bool>(0), "not promoted");
    }

    /// Waits until this replica shows all that `primary` shows now.
    pub(crate) fn catch_up_with(&self, primary: &Postgres) {
        let position = primary.client("postgres").query_one("SELECT pg_current_wal_lsn()::text", &[]);
        let position: String = position.expect("pg_current_wal_lsn").get(0);
        let mut replica = self.client("postgres");
        eventually("the replica follows", || {
            let row = replica
                .query_one(&format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{position}', false)"), &[]);
            row.expect("pg_last_wal_replay_lsn").get::<_, bool>(0).then_some(())
        });
    }
}
