//! The ordered index: a list of sorted blocks that are copied on write, with levels of such lists above it as hints.
//!
//! Shape       A *block* is immutable. An *anchor* stays: it has a low key and a level, which never change, and a word that names
//!             its present block. A block of the bottom level holds entries (key, row), sorted by both; one above it leads to
//!             anchors of the level below, by their low keys. Each block names the next anchor of its level and that one's low
//!             key, so each level is a list that covers all keys, beginning with an anchor below every key; the index's root
//!             word names the first anchor of the topmost level.
//! Search      goes down from the root: right as long as the next anchor's low key is not behind what is sought, then down by the
//!             last entry that is not. The levels above are hints: an anchor that none of them leads to is found from the left.
//! Rules       O1: a block's contents change by one CAS of its anchor's word, from one block to another that covers the same keys.
//!             O2: a split does that too: the new block covers the first keys of the old one, and names as its right neighbour a
//!             new anchor, with a block that covers the others. The next level learns of the anchor afterwards, by whoever
//!             comes by. O3: before a block is replaced it is LIVE, and what it alone leads to was LIVE before it; so one that is
//!             RESERVED, and not named by its word, was never reachable, and one that is LIVE has been. But for a plain copy,
//!             which is LIVE before it is linked and leads to nothing new, so that it is unreachable whenever it is not named.
//!             O4: a block is born when it is allocated, and every word that names one is changed before that one is retired.
//!             What a block names was born before it, and is retired after it was replaced; so who has loaded the block under
//!             its reservation (I2) may follow it. O5: an entry is a hint. Whoever adds
//!             it has linked the version that has its key, and changes the word of the anchor that covers it: to a new block, or,
//!             when the entry is there already, by counting that in the word. Whoever removes it loads the word, then finds that no
//!             version of the row has the key, and changes the word from what it was. A word does not come back while somebody
//!             looks: blocks do not, under a guard, and of one block the counts grow. So an adder whose change came before the load
//!             is seen by the look, and one whose change comes later fails the removal, or finds the entry gone and adds it.
//!             Sparse blocks are merged by rules M1 to M3 of `merge`.
//! Death       every state between two CAS is a valid list. Before a CAS the session's slot names word, new and old block; the
//!             reaper makes LIVE what has been linked and retires what has not, or is not any more.
//! Ordering    words are changed by `AcqRel` CAS and loaded with Acquire: whoever sees a block sees its contents, and what was done
//!             before all changes of the word up to there (O5), which are read-modify-writes.
//! Source      right links and late parents: Lehman and Yao, TODS 6(4), 1981. Stable words naming blocks that are replaced: the
//!             mapping table of Levandoski et al., "The Bw-Tree", ICDE 2013. Blocks under a skip list: Jiffy, `PPoPP` 2022.

mod ahead;
mod anchor;
mod batch;
mod block;
mod check;
mod directory;
mod dismantle;
mod hint;
mod insert;
mod merge;
mod ordered;
mod position;
mod remove;
mod replace;
mod scan;
mod seek;
mod settle;
mod shortcut;
mod walk;

pub use ahead::{Ahead, fetch_ahead};
pub use batch::EntryBatch;
pub use directory::Directory;
pub use insert::Added;
pub use ordered::OrderedIndex;
pub use position::prefix_end;
pub use scan::{Batch, BlockStamp, Cursor, Direction, IndexEntry};
pub(crate) use settle::{ensure_live, named_by};
