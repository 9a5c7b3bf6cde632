//! Entries that a writer adds while others abort it and take its version out: rule K4 of `secondary`.

#![forbid(unsafe_code)]

use crate::epoch::{Adding, Guard, Slot};
use crate::mvcc::VersionRef;
use crate::shm::Reserve;
use crate::txn::TxnError;
use crate::txn::link::Linker;
use crate::txn::secondary::RowKeys;

/// Removes what came too late of the entries that are named in `slot`: of an earlier write of this session, whose transaction was
/// aborted, or of a dead one's, that is. False when there is no room for that yet.
///
/// # Errors
/// When the mapping is damaged.
pub(super) fn finish_adding(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    slot: &Slot,
) -> Result<bool, TxnError> {
    let Some(Adding { version, row, table }) = slot.adding() else { return Ok(true) };
    // While it is named its memory is in the same use.
    let version = VersionRef::resolve(guard, version)?;
    let Linker { participant, heap, limbo, .. } = linker;
    let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
    if !version.is_tombstone() {
        match RowKeys::at(guard, table, row)?.remove(&mut linker, version.image(), None) {
            Err(error) if error.is_out_of_space() => return Ok(false),
            removed => removed?,
        }
    }
    slot.end_adding();
    Ok(true)
}
