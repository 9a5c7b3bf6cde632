//! Settings that may change while the database is open. They are this process's own.

#![forbid(unsafe_code)]

use crate::checkpoint::Compression;
use crate::db::Error;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// A setting: name, default, and what values it takes.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// The name.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    OnOff { default: bool },
    Number { default: u64, min: u64, max: u64 },
}

impl ConfigKey {
    /// What values it takes, in words.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::OnOff { .. } => "on or off".to_owned(),
            Kind::Number { min, max, .. } => format!("a whole number from {min} to {max}"),
        }
    }

    /// Whether it takes this value, which no database is needed to say.
    pub fn accepts(&self, text: &str) -> bool {
        self.parse(text).is_some()
    }

    fn parse(&self, text: &str) -> Option<u64> {
        match self.kind {
            Kind::OnOff { .. } => match text {
                "on" | "true" | "yes" | "1" => Some(1),
                "off" | "false" | "no" | "0" => Some(0),
                _ => None,
            },
            Kind::Number { min, max, .. } => text.parse().ok().filter(|value| (min..=max).contains(value)),
        }
    }
}

/// Every setting.
pub const CONFIG_KEYS: [ConfigKey; 13] = [
    ConfigKey { name: "synchronous_commit", kind: Kind::OnOff { default: true } },
    ConfigKey { name: "wal_writer_delay_ms", kind: Kind::Number { default: 10, min: 1, max: 10_000 } },
    ConfigKey { name: "retry_limit", kind: Kind::Number { default: 100, min: 0, max: 1_000_000 } },
    ConfigKey { name: "lock_timeout", kind: Kind::Number { default: 1_000, min: 1, max: 86_400_000 } },
    ConfigKey {
        name: "idle_in_transaction_timeout",
        kind: Kind::Number { default: 0, min: 0, max: 86_400_000 },
    },
    ConfigKey { name: "max_snapshot_age", kind: Kind::Number { default: 60_000, min: 0, max: 86_400_000 } },
    ConfigKey { name: "search_threads", kind: Kind::Number { default: 1, min: 1, max: 1_000 } },
    ConfigKey { name: "wal_sync_every_commits", kind: Kind::Number { default: 1, min: 0, max: 1_000_000 } },
    ConfigKey {
        name: "checkpoint_interval_secs",
        kind: Kind::Number { default: 300, min: 0, max: 31_536_000 },
    },
    ConfigKey { name: "checkpoint_log_mib", kind: Kind::Number { default: 1024, min: 0, max: 1 << 40 } },
    ConfigKey { name: "checkpoint_compression", kind: Kind::OnOff { default: false } },
    ConfigKey {
        name: "ttl_sweep_interval_ms",
        kind: Kind::Number { default: 1_000, min: 10, max: 86_400_000 },
    },
    ConfigKey { name: "ttl_batch_rows", kind: Kind::Number { default: 500, min: 1, max: 100_000 } },
];

const SYNCHRONOUS_COMMIT: usize = 0;
const WAL_WRITER_DELAY: usize = 1;
const RETRY_LIMIT: usize = 2;
/// Milliseconds a transaction queues for a row.
const LOCK_TIMEOUT: usize = 3;
/// Milliseconds a transaction may stand between two calls; 0 for any time.
const IDLE_TIMEOUT: usize = 4;
/// Milliseconds that a snapshot may hold garbage back; 0 for any time.
const MAX_SNAPSHOT_AGE: usize = 5;
/// Threads that may go through a table together for a search that does not say how many.
const SEARCH_THREADS: usize = 6;
/// Commits that the log writer syncs together; 0 for as many as come within its delay.
const WAL_SYNC_EVERY_COMMITS: usize = 7;
/// Seconds between two checkpoints; 0 for none by time.
const CHECKPOINT_INTERVAL: usize = 8;
/// Mebibytes of log after which a checkpoint is due; 0 for none by size.
const CHECKPOINT_LOG: usize = 9;
/// Whether checkpoints are compressed.
const CHECKPOINT_COMPRESSION: usize = 10;
/// Milliseconds between two looks for rows that are past their time to live.
const TTL_SWEEP_INTERVAL: usize = 11;
/// Rows that are deleted for that in one transaction.
const TTL_BATCH_ROWS: usize = 12;

/// The settings of a process.
pub(super) struct Config {
    values: [AtomicU64; CONFIG_KEYS.len()],
}

impl Config {
    pub(super) fn new(synchronous_commit: bool) -> Self {
        let config = Self {
            values: CONFIG_KEYS.map(|key| {
                AtomicU64::new(match key.kind {
                    Kind::OnOff { default } => u64::from(default),
                    Kind::Number { default, .. } => default,
                })
            }),
        };
        config.values[SYNCHRONOUS_COMMIT].store(u64::from(synchronous_commit), Ordering::Relaxed);
        config
    }

    fn value(&self, index: usize) -> u64 {
        // Relaxed: a setting takes effect soon, and orders nothing.
        self.values[index].load(Ordering::Relaxed)
    }

    pub(super) fn synchronous_commit(&self) -> bool {
        self.value(SYNCHRONOUS_COMMIT) != 0
    }

    pub(super) fn wal_writer_delay_ms(&self) -> u64 {
        self.value(WAL_WRITER_DELAY)
    }

    pub(super) fn wal_sync_every_commits(&self) -> u64 {
        self.value(WAL_SYNC_EVERY_COMMITS)
    }

    pub(super) fn retry_limit(&self) -> u64 {
        self.value(RETRY_LIMIT)
    }

    pub(super) fn lock_timeout_ns(&self) -> u64 {
        self.value(LOCK_TIMEOUT) * 1_000_000
    }

    pub(super) fn idle_timeout_ms(&self) -> u64 {
        self.value(IDLE_TIMEOUT)
    }

    pub(super) fn max_snapshot_age_ns(&self) -> Option<u64> {
        Some(self.value(MAX_SNAPSHOT_AGE) * 1_000_000).filter(|age| *age != 0)
    }

    pub(super) fn search_threads(&self) -> u32 {
        u32::try_from(self.value(SEARCH_THREADS)).unwrap_or(u32::MAX)
    }

    pub(super) fn checkpoint_interval_ns(&self) -> Option<u64> {
        Some(self.value(CHECKPOINT_INTERVAL) * 1_000_000_000).filter(|interval| *interval != 0)
    }

    pub(super) fn checkpoint_log_bytes(&self) -> Option<u64> {
        Some(self.value(CHECKPOINT_LOG) << 20).filter(|bytes| *bytes != 0)
    }

    pub(super) fn checkpoint_compression(&self) -> Compression {
        if self.value(CHECKPOINT_COMPRESSION) == 0 { Compression::None } else { Compression::Zstd }
    }

    pub(super) fn ttl_interval(&self) -> Duration {
        Duration::from_millis(self.value(TTL_SWEEP_INTERVAL))
    }

    pub(super) fn ttl_batch_rows(&self) -> usize {
        usize::try_from(self.value(TTL_BATCH_ROWS)).unwrap_or(1)
    }

    fn index(name: &str) -> Result<usize, Error> {
        CONFIG_KEYS.iter().position(|key| key.name == name).ok_or_else(|| {
            let names: Vec<&str> = CONFIG_KEYS.iter().map(|key| key.name).collect();
            Error::Config { reason: format!("unknown setting \"{name}\": must be {}", names.join(", ")) }
        })
    }

    pub(super) fn set(&self, name: &str, text: &str) -> Result<(), Error> {
        let index = Self::index(name)?;
        let key = CONFIG_KEYS[index];
        let value = key.parse(text).ok_or_else(|| Error::Config {
            reason: format!("bad value \"{text}\" for {name}: must be {}", key.allowed()),
        })?;
        self.values[index].store(value, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Result<String, Error> {
        let index = Self::index(name)?;
        let value = self.value(index);
        Ok(match CONFIG_KEYS[index].kind {
            Kind::OnOff { .. } => if value == 0 { "off" } else { "on" }.to_owned(),
            Kind::Number { .. } => value.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_key_or_value_says_what_is_allowed() {
        let config = Config::new(true);
        let error = config.set("synchronus_commit", "on").unwrap_err().to_string();
        assert!(error.contains("wal_writer_delay_ms"), "{error}");
        let error = config.set("synchronous_commit", "maybe").unwrap_err().to_string();
        assert!(error.contains("on or off"), "{error}");
        let error = config.set("wal_writer_delay_ms", "0").unwrap_err().to_string();
        assert!(error.contains("from 1 to 10000"), "{error}");
        assert_eq!(config.get("synchronous_commit").unwrap(), "on");
        config.set("synchronous_commit", "off").unwrap();
        assert_eq!(config.get("synchronous_commit").unwrap(), "off");
    }

    #[test]
    fn a_value_is_judged_without_a_database() {
        let [commit, delay, ..] = CONFIG_KEYS;
        assert!(commit.accepts("off") && !commit.accepts("perhaps"));
        assert!(delay.accepts("10000") && !delay.accepts("10001") && !delay.accepts(""));
    }
}
