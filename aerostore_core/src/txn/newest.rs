//! Reading one row in a transaction that does nothing else: its newest version, without a snapshot.
//!
//! Rules   Z1: what is shown is the head of a row, stamped with a commit timestamp c. Nothing is passed over: where the head is an intent,
//!             whatever its record says, or `NEVER`, nobody holds what lies below it for this reader, which takes a snapshot and looks
//!             again. Z2: what is shown is the head that was loaded first, and whose key was compared. A key for which no row has a head when
//!             the end of its probe path is found EMPTY is missing. Z3: state of the table, entry, head and image are looked at in one
//!             operation (I2). It publishes nothing else, so a death in it leaves nothing but its interval, and nothing can be revoked.
//!             Z4: after its stamp was seen, the version still is the head. A transaction that writes a row twice pushes its first intent out;
//!             who has that at hand since before may learn from the record that it has committed, and stamp it.
//! Why     it sees what a snapshot S would have seen that lies within its time: by Z4 the version is both committed and the head at one time. Let t be what the clock showed when the head was loaded. What
//!         is linked over it later is ACTIVE after that (R2), so its timestamp is above t (R3); and above c, as the row had another
//!         owner before (W2). If c <= t, S is t: the head counts at it. If not, c was drawn since, and S is c. Who had committed before the
//!         operation began has a timestamp of t at most, and who begins after its end draws one above S: the order is that in which
//!         things happened. If the table was dropped meanwhile S is at most one below the drop, which was found not to have begun:
//!         it has a timestamp above what the clock showed then, and above those of all that was written in the table (T2).
//!         A missing key is missing at t, the time of the load that found the path's end (H1, H2), or at that of the removal (D1)
//!         when its row was seen before, and not any more.

#![forbid(unsafe_code)]

use crate::row::{Copies, RowView, Value};
use crate::txn::transaction::{hash_key, head_with_key, lookup_key};
use crate::txn::{Session, TableRef, TxnError};

/// What a look at a row's newest version has found.
pub enum Newest<R, F> {
    /// What was made of the row, if there is one of that key.
    Known(Option<R>),
    /// Somebody is writing the row, or did: a snapshot tells (Z1).
    Unsettled(F),
}

impl Session {
    /// Calls `f` with the row of that key as it was last committed, between transactions: a transaction of its own, without a place
    /// in the order that anybody waits for.
    ///
    /// # Errors
    /// `Row` for a key of the wrong type; `NoTable`.
    #[inline]
    pub fn read_newest<R, F: FnOnce(RowView<'_>) -> R>(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        f: F,
    ) -> Result<Newest<R, F>, TxnError> {
        let key = lookup_key(table, key)?;
        let hash = hash_key(key, &mut self.buffers.key);
        let guard = self.participant.pin();
        let mut head = None;
        let found = table.primary(&guard)?.find(&guard, hash, |row| {
            head = head_with_key(&guard, table, row, key, hash)?;
            Ok::<_, TxnError>(head.is_some())
        })?;
        let (Some(version), Some(found)) = (head, found) else { return Ok(Newest::Known(None)) };
        if !version.is_stamped() || !version.is_head_of(guard.resolve(found.row)?) {
            return Ok(Newest::Unsettled(f)); // Z1, Z4
        }
        if version.is_tombstone() {
            return Ok(Newest::Known(None));
        }
        let copies = Copies::default();
        let row = table.view(version.image(), &copies)?;
        Ok(Newest::Known(Some(f(row))))
    }
}
