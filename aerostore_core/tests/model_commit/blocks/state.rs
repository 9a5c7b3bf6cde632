//! What is there at one moment: anchors with their blocks, the block of hints, and where everybody is.

use super::ACTORS;

/// Anchors that there can come to be; none is number 0 but the first, which is nobody's neighbour.
pub(super) const ANCHORS: usize = 5;
/// Entries of a block.
pub(super) const FULL: u32 = 2;
/// The entry that somebody looks for.
pub(super) const STAYS: u8 = 3;
/// The entry of the row that goes to another key and back.
pub(super) const ROWS: u8 = 4;

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// O2: the block with the other half is linked after the first half is all that is left.
    SplitsInTwoSteps,
    /// O5: an addition of what is there changes nothing.
    AddsAgainInSilence,
    /// O5: a removal looks at the row before it loads the word.
    LooksBeforeItLoads,
    /// M2: a hint is added without a look at the anchor.
    HintsAtWhatGoes,
    /// A block is merged without being frozen.
    MergesTheUnfrozen,
    /// An anchor is dead before its contents are on its left.
    DiesBeforeItIsMerged,
    /// An anchor is given back before it is dead.
    IsForgottenAlive,
}

/// What an anchor's word says of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) enum Word {
    #[default]
    Unused,
    InForce,
    Frozen,
    Dead,
}

/// An anchor and its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Anchor {
    pub(super) word: Word,
    /// Changes of the word.
    pub(super) count: u8,
    pub(super) low: u8,
    /// A bit for each entry.
    pub(super) entries: u8,
    /// The next anchor, or 0.
    pub(super) right: u8,
    /// Nothing leads to it any more, not even a closing hint.
    pub(super) is_retired: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Hint {
    pub(super) anchor: u8,
    pub(super) is_closing: bool,
}

/// The block of hints, by their low keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Top {
    pub(super) count: u8,
    pub(super) length: u8,
    pub(super) hints: [Hint; ANCHORS],
}

impl Top {
    pub(super) fn all(&self) -> &[Hint] {
        &self.hints[..usize::from(self.length)]
    }

    pub(super) fn find(&self, anchor: u8) -> Option<usize> {
        self.all().iter().position(|hint| hint.anchor == anchor)
    }

    pub(super) fn insert(&mut self, index: usize, hint: Hint) {
        self.hints[index..].rotate_right(1);
        self.hints[index] = hint;
        self.length += 1;
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.hints[index] = Hint::default();
        self.hints[index..].rotate_left(1);
        self.length -= 1;
    }
}

/// What one goes down for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Goal {
    Insert(u8),
    Remove,
    Seek,
    Merge,
    /// The block on the left of an anchor that goes.
    Left(u8),
}

/// A block that was in force when it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) anchor: u8,
    pub(super) block: Anchor,
    pub(super) is_hinted: bool,
}

/// What one does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// The row goes back to its old key.
    Link,
    /// Look at the row, and load after that.
    LookFirst,
    Descend(Goal),
    Load {
        goal: Goal,
        anchor: u8,
        is_hinted: bool,
    },
    /// Look at the row, whose entry is in the block.
    Look {
        place: Place,
    },
    Put {
        goal: Goal,
        place: Place,
        entries: u8,
        right: u8,
    },
    LinkHalf {
        goal: Goal,
        place: u8,
        half: u8,
    },
    Hint {
        anchor: u8,
    },
    Check {
        anchor: u8,
        top: Top,
    },
    AddHint {
        anchor: u8,
        top: Top,
    },
    Choose,
    Close {
        top: Top,
        index: usize,
    },
    /// Load the word of an anchor that goes.
    Merge {
        anchor: u8,
    },
    Freeze {
        anchor: u8,
        block: Anchor,
    },
    Die {
        anchor: u8,
        block: Anchor,
    },
    Drop {
        anchor: u8,
    },
    DropHint {
        top: Top,
        index: usize,
    },
    Done,
}

/// One at work, and the anchors that it has met on its way and lets go first, the last one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Actor {
    pub(super) step: Step,
    pub(super) met: [u8; 2],
    /// Its entry is in, and what is left is to add a hint.
    pub(super) is_done: bool,
}

impl Actor {
    /// Is it at the last step of letting an anchor go?
    pub(super) fn step_drops(&self) -> bool {
        matches!(self.step, Step::Drop { .. } | Step::DropHint { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) anchors: [Anchor; ANCHORS],
    pub(super) top: Top,
    pub(super) actors: [Actor; ACTORS.len()],
    /// The row's key is that of its entry.
    pub(super) has_key: bool,
    /// Somebody has died.
    pub(super) is_short: bool,
    pub(super) has_missed: bool,
}

pub(super) fn bit(entry: u8) -> u8 {
    1 << entry
}

/// Without the lower half of the entries, the smaller one.
pub(super) fn upper_half(entries: u8) -> u8 {
    (0..entries.count_ones() / 2).fold(entries, |rest, _| rest & (rest - 1))
}
