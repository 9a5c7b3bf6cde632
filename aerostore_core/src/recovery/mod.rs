//! Getting a database back from its files.

#[cfg(not(loom))]
mod crew;
#[cfg(not(loom))]
mod load;
#[cfg(not(loom))]
mod recover;
#[cfg(not(loom))]
mod replay;
#[cfg(not(loom))]
mod salvage;
mod scan;

#[cfg(not(loom))]
#[cfg(all(test, not(loom)))]
pub(crate) use load::is_intact;
#[cfg(not(loom))]
pub use recover::{Recovered, RecoveryProgress, RecoveryStep, recover};
#[cfg(not(loom))]
pub use salvage::{GivenUp, Salvaged, salvage};
pub use scan::{LogReport, scan_log};
