//! Index roots: which secondary indexes a table has, on which columns, and how far each is made or unmade.
//!
//! States      FREE -> PREPARING -> BUILDING -> LEAVING <-> READY, LEAVING -> DROPPING -> CLEARING -> FREE; from PREPARING and
//!             BUILDING also to DROPPING; from CLEARING back, when its owner has died. Writers keep an index that is BUILDING, READY or LEAVING; readers use one that is READY or LEAVING.
//! Invariants  O1: a table's roots are a list that only grows at its end; one that is FREE serves the next index. O2: the state
//!             moves by CAS on a word that names whose turn it is; columns, promises and tree change only while it is
//!             PREPARING, or DROPPING and out of everybody's reach. O3: a column's bit in `TableRoot::indexed` is set
//!             before its index is BUILDING. Who has an index CLEARING takes the bit back, unless there is another on the column;
//!             who claims a root names its column, passes a fence, and gives way to one that is CLEARING: of two who do so at once
//!             one sees the other.
//!             O4: who links a version, and then passes a fence, keeps every index whose builder does not see that version.
//!             O5: that a table has a unique index is said in `TableRoot::unique` and then in the catalog before the index is BUILDING
//!             or its table is linked, in the same operation: whoever draws a commit timestamp after the builder has looked at the clock
//!             knows of it (U4). The column's mark is taken back as in O3; the catalog's, by a CAS from what it was, when the operations
//!             are over that ran when it was looked at, and no table has a mark then: who had said it before has linked his table by then,
//!             or never will; who says it later changes the word.
//! Ordering    the state is moved by `SeqCst` CAS, and a fence follows (O4); `txn::secondary` has the other side.

use crate::epoch::Guard;
use crate::mvcc::{TableRoot, turn_word};
use crate::row::{ColumnPlace, IndexSpec};
use crate::shm::{OwnerId, Shared, ShmError};
use crate::sync::{AtomicU64, Ordering};
use std::mem::{offset_of, size_of};

/// Columns that the key of one index may be made of; one, so far.
const KEY_COLUMNS: usize = 4;

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum IndexState {
    /// No index.
    Free = 0,
    /// Somebody is about to make one.
    Preparing = 1,
    /// Writers keep it; its builder adds what was there before.
    Building = 2,
    /// Complete.
    Ready = 3,
    /// Complete; somebody is about to log that it is there, or that it is not any more.
    Leaving = 4,
    /// Out of use; its memory is being given back.
    Dropping = 5,
    /// Its memory is given back; its column is about to count as one without an index, for writers.
    Clearing = 6,
}

/// State and owner of an index root, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexWord {
    /// How far it is.
    pub state: IndexState,
    /// Whose turn it is, if anybody's.
    pub owner: Option<OwnerId>,
}

impl IndexWord {
    /// In this state, and nobody's turn.
    pub fn of(state: IndexState) -> Self {
        Self { state, owner: None }
    }

    /// In this state, and `owner`'s turn.
    pub fn owned(state: IndexState, owner: OwnerId) -> Self {
        Self { state, owner: Some(owner) }
    }

    /// Do writers keep it?
    pub fn is_kept(self) -> bool {
        matches!(self.state, IndexState::Building | IndexState::Ready | IndexState::Leaving)
    }

    /// Is it complete?
    pub fn is_complete(self) -> bool {
        matches!(self.state, IndexState::Ready | IndexState::Leaving)
    }

    fn word(self) -> u64 {
        turn_word::encode(self.state as u8, self.owner)
    }

    fn from_word(word: u64) -> Self {
        let (state, owner) = turn_word::decode(word);
        let state = match state {
            1 => IndexState::Preparing,
            2 => IndexState::Building,
            3 => IndexState::Ready,
            4 => IndexState::Leaving,
            5 => IndexState::Dropping,
            6 => IndexState::Clearing,
            _ => IndexState::Free,
        };
        Self { state, owner }
    }
}

/// The shared root of one index.
#[repr(C)]
pub struct IndexRoot {
    next: AtomicU64,
    word: AtomicU64,
    /// Places of the columns its key is made of, 0 behind the last.
    places: [AtomicU64; KEY_COLUMNS],
    /// The ordered index's own root word.
    pub tree: AtomicU64,
    /// Oldest snapshot that may use it: versions that only older ones see are not in it.
    pub valid_from: AtomicU64,
    /// The epoch after whose operations nobody can be at an index that is DROPPING; 0 while that is not known.
    pub closed_epoch: AtomicU64,
    /// Different keys that are not null, as last counted.
    pub distinct: AtomicU64,
    /// Entries whose key is null, likewise.
    pub nulls: AtomicU64,
    /// Rows of the table when they were counted.
    pub counted_rows: AtomicU64,
    /// For taking the tree apart; see `OrderedIndex::dismantle`.
    pub below: AtomicU64,
    /// `IndexSpec::word`.
    spec: AtomicU64,
    /// Of a hash: the word that names its directory.
    pub directory: AtomicU64,
    /// What the directory counts.
    pub anchors: AtomicU64,
}

const _: () = assert!(size_of::<IndexRoot>() == 128 && offset_of!(IndexRoot, tree) == 48);

// SAFETY: repr(C), atomics and padding only; all-zero is a FREE root.
unsafe impl Shared for IndexRoot {}

impl IndexRoot {
    /// Its state.
    #[inline]
    pub fn word(&self) -> IndexWord {
        // SeqCst: O4.
        IndexWord::from_word(self.word.load(Ordering::SeqCst))
    }

    /// Moves it on (O2); true for the one who did.
    pub fn change(&self, from: IndexWord, to: IndexWord) -> bool {
        self.word.compare_exchange(from.word(), to.word(), Ordering::SeqCst, Ordering::Acquire).is_ok()
    }

    /// Makes a zeroed root that nobody else knows the index of an empty table, before `next` on its list.
    pub fn init(&self, place: ColumnPlace, spec: IndexSpec, tree: u64, next: u64) {
        self.set_place(Some(place));
        self.set_spec(spec);
        self.tree.store(tree, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        self.word.store(IndexWord::of(IndexState::Ready).word(), Ordering::Release);
    }

    /// Makes a zeroed root that nobody else knows one that `owner` is about to make an index of.
    pub fn init_for(&self, owner: OwnerId) {
        self.word.store(IndexWord::owned(IndexState::Preparing, owner).word(), Ordering::Release);
    }

    /// The column that its key is made of; `None` while it has none.
    #[inline]
    pub fn place(&self) -> Option<ColumnPlace> {
        ColumnPlace::from_word(self.places[0].load(Ordering::Acquire))
    }

    /// Sets the column (O2).
    pub fn set_place(&self, place: Option<ColumnPlace>) {
        self.places[0].store(place.map_or(0, |place| place.word()), Ordering::Release);
    }

    /// What is promised of it.
    #[inline]
    pub fn spec(&self) -> IndexSpec {
        let [word, ..] = self.spec.load(Ordering::Acquire).to_le_bytes();
        IndexSpec::from_word(word).unwrap_or_default()
    }

    /// Sets what is promised of it (O2).
    pub fn set_spec(&self, spec: IndexSpec) {
        self.spec.store(u64::from(spec.word()), Ordering::Release);
    }

    /// Offset of the `tree` word of the root at `offset`.
    pub fn tree_offset(offset: u64) -> u64 {
        offset + offset_of!(IndexRoot, tree) as u64
    }

    /// Offset of the `directory` word of the root at `offset`.
    pub fn directory_offset(offset: u64) -> u64 {
        offset + offset_of!(IndexRoot, directory) as u64
    }
}

/// One root on a table's list.
#[derive(Clone, Copy)]
pub struct IndexRef<'g> {
    /// Where it lies.
    pub offset: u64,
    /// What lies there.
    pub root: &'g IndexRoot,
}

/// A table's roots, in the order of their list.
pub struct IndexRoots<'a, 'g> {
    guard: &'a Guard<'g>,
    next: u64,
}

impl<'a, 'g> IndexRoots<'a, 'g> {
    /// Of this table.
    #[inline]
    pub fn of(guard: &'a Guard<'g>, table: &TableRoot) -> Self {
        Self { guard, next: table.indexes.load(Ordering::Acquire) }
    }
}

impl<'g> Iterator for IndexRoots<'_, 'g> {
    type Item = Result<IndexRef<'g>, ShmError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = std::mem::take(&mut self.next);
        if offset == 0 {
            return None;
        }
        Some(self.guard.resolve::<IndexRoot>(offset).map(|root| {
            self.next = root.next.load(Ordering::Acquire);
            IndexRef { offset, root }
        }))
    }
}

/// The word to which the next root of a table is linked, and its offset.
///
/// # Errors
/// When the mapping is damaged.
pub fn end_of_roots<'g>(
    guard: &Guard<'g>,
    table: u64,
    root: &'g TableRoot,
) -> Result<(&'g AtomicU64, u64), ShmError> {
    let mut end = (&root.indexes, table + offset_of!(TableRoot, indexes) as u64);
    for index in IndexRoots::of(guard, root) {
        let index = index?;
        end = (&index.root.next, index.offset + offset_of!(IndexRoot, next) as u64);
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_word_says_whose_turn_it_is() {
        let owner = OwnerId { slot: 65_535, incarnation: u32::MAX };
        for word in [IndexWord::of(IndexState::Ready), IndexWord::owned(IndexState::Dropping, owner)] {
            assert_eq!(IndexWord::from_word(word.word()), word);
        }
        assert_eq!(IndexWord::of(IndexState::Free).word(), 0, "zeroed memory is FREE");
    }
}
