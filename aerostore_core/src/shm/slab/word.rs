//! The word that says whose a slab is, and what it is used for (S1).

use super::super::class::{CLASS_COUNT, LARGE_SLABS_MAX};

/// A session: the slot it sits in, and which of the slot's users it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnerId {
    /// Index in the table of slots.
    pub slot: u16,
    /// How often the slot was taken before; tells a dead user from its successor.
    pub incarnation: u32,
}

/// Whose a slab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shm) enum SlabOwner {
    Free,
    Owned(OwnerId),
    Orphan,
    /// Nobody's, and without memory; see `giveback`.
    Absent,
}

/// What a slab is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shm) enum SlabUse {
    /// Claimed, not yet usable.
    Forming,
    /// Blocks of one class.
    Blocks(u8),
    /// The first slab of a run that is one block.
    Large(u64),
    /// A later slab of a run.
    Tail,
}

/// owner kind:2 | unused:1 | run length:5 | use:8 | incarnation:32 | slot:16; 0 is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shm) struct SlabWord(pub(super) u64);

const KIND_OWNED: u64 = 1 << 62;
const KIND_ORPHAN: u64 = 2 << 62;
const KIND_ABSENT: u64 = 3 << 62;
const KIND_MASK: u64 = 3 << 62;
const USE_SHIFT: u32 = 48;
const RUN_SHIFT: u32 = 56;
const USE_MASK: u64 = 0x1fff << USE_SHIFT;
const USE_LARGE: u64 = 0xfe;
const USE_TAIL: u64 = 0xff;

impl SlabWord {
    pub(in crate::shm) const FREE: Self = Self(0);
    pub(in crate::shm) const ABSENT: Self = Self(KIND_ABSENT);

    #[inline]
    pub(in crate::shm) fn owned(owner: OwnerId, usage: SlabUse) -> Self {
        let owner = u64::from(owner.incarnation) << 16 | u64::from(owner.slot);
        Self(KIND_OWNED | usage_bits(usage) | owner)
    }

    /// The same use, without an owner.
    #[inline]
    pub(in crate::shm) fn orphaned(self) -> Self {
        Self(KIND_ORPHAN | self.0 & USE_MASK)
    }

    /// The same use, owned by `owner`.
    #[inline]
    pub(in crate::shm) fn adopted(self, owner: OwnerId) -> Self {
        Self(self.0 & USE_MASK | Self::owned(owner, SlabUse::Forming).0)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the bits of the fields")]
    pub(in crate::shm) fn owner(self) -> SlabOwner {
        match self.0 & KIND_MASK {
            KIND_OWNED => {
                SlabOwner::Owned(OwnerId { slot: self.0 as u16, incarnation: (self.0 >> 16) as u32 })
            }
            KIND_ORPHAN => SlabOwner::Orphan,
            KIND_ABSENT => SlabOwner::Absent,
            _ => SlabOwner::Free,
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the value was just seen to be small")]
    pub(in crate::shm) fn usage(self) -> SlabUse {
        match self.0 >> USE_SHIFT & 0xff {
            USE_LARGE => SlabUse::Large(self.0 >> RUN_SHIFT & 0x1f),
            USE_TAIL => SlabUse::Tail,
            class if class != 0 && class <= CLASS_COUNT as u64 => SlabUse::Blocks((class - 1) as u8),
            _ => SlabUse::Forming,
        }
    }

    /// Whether the slab's memory is there and means something.
    #[inline]
    pub(in crate::shm) fn is_in_use(self) -> bool {
        // The two kinds that have one of the top bits; and all uses but 0 and those that do not exist.
        let has_owner = (self.0 ^ self.0 << 1) >> 63 != 0;
        let usage = self.0 >> USE_SHIFT & 0xff;
        has_owner && (usage.wrapping_sub(1) < CLASS_COUNT as u64 || usage >= USE_LARGE)
    }

    /// Whether the slab still is used for the same, whoever owns it.
    #[inline]
    pub(super) fn is_used_as(self, before: Self) -> bool {
        (self.0 ^ before.0) & USE_MASK == 0 && (self == Self::FREE) == (before == Self::FREE)
    }

    #[inline]
    pub(in crate::shm) fn is_owned_by(self, owner: OwnerId) -> bool {
        self.0 & !USE_MASK == Self::owned(owner, SlabUse::Forming).0
    }
}

#[inline]
fn usage_bits(usage: SlabUse) -> u64 {
    match usage {
        SlabUse::Forming => 0,
        SlabUse::Blocks(class) => (u64::from(class) + 1) << USE_SHIFT,
        SlabUse::Large(run) => run << RUN_SHIFT | USE_LARGE << USE_SHIFT,
        SlabUse::Tail => USE_TAIL << USE_SHIFT,
    }
}

const _: () = assert!((CLASS_COUNT as u64) < USE_LARGE && LARGE_SLABS_MAX <= 0x1f);

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: OwnerId = OwnerId { slot: 0xfffe, incarnation: u32::MAX };

    #[test]
    fn words_keep_owner_and_use() {
        let uses = [
            SlabUse::Forming,
            SlabUse::Blocks(0),
            SlabUse::Blocks(u8::try_from(CLASS_COUNT).unwrap() - 1),
            SlabUse::Large(LARGE_SLABS_MAX),
            SlabUse::Large(1),
            SlabUse::Tail,
        ];
        for usage in uses {
            let word = SlabWord::owned(OWNER, usage);
            assert_eq!(word.owner(), SlabOwner::Owned(OWNER));
            assert_eq!(word.usage(), usage);
            assert_eq!(word.orphaned().owner(), SlabOwner::Orphan);
            assert_eq!(word.orphaned().usage(), usage);
            let heir = OwnerId { slot: 3, incarnation: 1 };
            assert_eq!(word.orphaned().adopted(heir), SlabWord::owned(heir, usage));
        }
        assert_eq!(SlabWord::FREE.owner(), SlabOwner::Free);
    }

    /// Every kind and use, those that do not exist included, which damage may leave.
    #[test]
    fn words_are_judged_by_their_bits_as_by_their_fields() {
        let owners = [(0, 0), (1, 0), (OWNER.slot, OWNER.incarnation)]
            .map(|(slot, incarnation)| OwnerId { slot, incarnation });
        let mut words = Vec::new();
        for kind in [0, KIND_OWNED, KIND_ORPHAN, KIND_ABSENT] {
            for usage in 0..=USE_MASK >> USE_SHIFT {
                let owner = owners[words.len() % 3];
                let word = SlabWord(
                    kind | usage << USE_SHIFT | SlabWord::owned(owner, SlabUse::Forming).0 & !KIND_MASK,
                );
                let is_held = matches!(word.owner(), SlabOwner::Owned(_) | SlabOwner::Orphan);
                assert_eq!(word.is_in_use(), is_held && word.usage() != SlabUse::Forming, "{word:?}");
                for owner in owners {
                    assert_eq!(word.is_owned_by(owner), word.owner() == SlabOwner::Owned(owner), "{word:?}");
                }
                if usage_bits(word.usage()) == word.0 & USE_MASK {
                    words.push(word);
                }
            }
        }
        words.extend([SlabWord::FREE, SlabWord::ABSENT]);
        for one in &words {
            for two in &words {
                let is_same =
                    one.usage() == two.usage() && (*one == SlabWord::FREE) == (*two == SlabWord::FREE);
                assert_eq!(one.is_used_as(*two), is_same, "{one:?} {two:?}");
            }
        }
    }
}
