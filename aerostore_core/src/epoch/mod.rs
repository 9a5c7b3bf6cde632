//! Who is alive, what each may still read, and when memory may be used again.
//!
//! A process holds one kernel lock for as long as it lives; each of its sessions holds a slot. A slot publishes two
//! things: the snapshot it reads at (which versions must stay in their chains) and, for the length of one operation,
//! the interval of epochs it may hold pointers from (which unlinked blocks must stay allocated).

mod error;
mod held;
mod horizon;
mod interval;
mod recycler;
mod registry;
mod reservation;
mod role;
mod slot;

pub use error::EpochError;
pub use horizon::LiveSnapshots;
pub use interval::{Guard, LIVE_BATCH, Limbo, LiveBatch, Participant};
pub use recycler::Recycler;
pub use registry::{
    BEAT_INTERVAL_NS, ProcessEntry, ProcessId, Registry, RegistryHeader, SILENCE_NS, SlotId, SlotState,
};
pub use reservation::Reservation;
pub use role::Role;
pub use slot::{Adding, NO_SNAPSHOT, Slot};
