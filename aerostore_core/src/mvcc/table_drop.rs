//! How far the drop of a table is: the words of its root that say so. What they are for: T1-T7 of `txn::drop`.
#![forbid(unsafe_code)]

use super::table::TableRoot;
use super::turn_word;
use crate::shm::OwnerId;
use crate::sync::{AtomicU64, Ordering};

/// How far a drop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DropStage {
    /// Nobody drops it.
    None = 0,
    /// Nobody uses it any more; somebody is about to log that it is dropped.
    Leaving = 1,
    /// It is dropped; its memory is being given back.
    Dropped = 2,
    /// Its rows are gone; somebody takes its key hash apart.
    Clearing = 3,
    /// Its memory is given back, but for the slabs of its rows, which the next table may have.
    Gone = 4,
    /// Somebody makes a table that is to have them.
    Handing = 5,
    /// Another table has them.
    Empty = 6,
    /// Nobody drops it; somebody adds columns to it (J5 of `txn::alter`).
    Altering = 7,
}

/// How far the drop of a table is, and whose turn it is, if anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropWord {
    /// How far.
    pub stage: DropStage,
    /// Whose turn.
    pub owner: Option<OwnerId>,
}

impl DropWord {
    /// At this stage, and nobody's turn.
    pub fn of(stage: DropStage) -> Self {
        Self { stage, owner: None }
    }

    /// At this stage, and `owner`'s turn.
    pub fn owned(stage: DropStage, owner: OwnerId) -> Self {
        Self { stage, owner: Some(owner) }
    }

    fn word(self) -> u64 {
        turn_word::encode(self.stage as u8, self.owner)
    }

    fn from_word(word: u64) -> Self {
        let (stage, owner) = turn_word::decode(word);
        let stage = match stage {
            1 => DropStage::Leaving,
            2 => DropStage::Dropped,
            3 => DropStage::Clearing,
            4 => DropStage::Gone,
            5 => DropStage::Handing,
            6 => DropStage::Empty,
            7 => DropStage::Altering,
            _ => DropStage::None,
        };
        Self { stage, owner }
    }
}

/// The words of a table's root.
#[repr(C)]
pub(super) struct DropWords {
    turn: AtomicU64,
    dropped_ts: AtomicU64,
    closed_epoch: AtomicU64,
}

impl TableRoot {
    /// How far its drop is.
    pub fn drop_word(&self) -> DropWord {
        DropWord::from_word(self.drop_words().turn.load(Ordering::SeqCst))
    }

    /// From one to the other; false when somebody has moved it.
    pub fn change_drop(&self, from: DropWord, to: DropWord) -> bool {
        let turn = &self.drop_words().turn;
        turn.compare_exchange(from.word(), to.word(), Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// When it was dropped; 0 before it is DROPPED.
    pub fn dropped_ts(&self) -> u64 {
        self.drop_words().dropped_ts.load(Ordering::Acquire)
    }

    /// It is dropped as of `commit_ts`, by whose turn it is (T3).
    pub fn note_dropped(&self, commit_ts: u64) {
        self.drop_words().dropped_ts.store(commit_ts, Ordering::Release);
        self.set_dropped();
    }

    /// Gives a table that nobody else knows the slabs of `heir_of`, which is HANDING (T8).
    pub fn take_slabs(&self, heir_of: &Self) {
        self.set_tag(heir_of.tag());
        self.rows.store(heir_of.rows.load(Ordering::Acquire), Ordering::Release);
    }

    /// The epoch with which the last operation may end that has seen it in use; 0 while that is not known.
    pub fn closed_epoch(&self) -> &AtomicU64 {
        &self.drop_words().closed_epoch
    }
}
