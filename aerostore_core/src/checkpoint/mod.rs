//! Checkpoints: all rows as of one commit timestamp, in files, so that the log before it is not needed any more.
//!
//! Files       in the directory `checkpoints` of the data directory: `NUMBER.rows`, chunks of rows one after the other, and
//!             `NUMBER.manifest`, which says what the chunks are; the number is 16 hexadecimal digits. A checkpoint is there once
//!             its manifest has its name.
//! Rules       P1: the rows are those of one snapshot at C, so every commit with a timestamp up to C is in it, and no later one. P2: tables and
//!             indexes are read after the snapshot was taken: C4 of `mvcc::table`, and what `tables` says of indexes. P3: before the manifest
//!             gets its name, `rows` has survived a sync, and the log is durable up to a timestamp drawn after P2; where the last of its
//!             batches ended then, L, stands in the manifest, beside C. So a log that ends before L is damaged, and an earlier checkpoint
//!             with the log from there on gives the same. L may be below C: not every timestamp is that of a record. P4: a number is taken
//!             by exclusive create of its `rows`, above every number in use; nobody else writes files of that number. P5: the two newest
//!             checkpoints are kept of which the manifest can be read and the rows are as long as it says, and that were not found to be
//!             damaged; files of smaller numbers are removed, and those segments of the log that the older one makes superfluous.
//!             Whoever lists the directory late removes less, not more. What could not be removed is tried again by the next one.
//!             P6: one that nobody waits for rests after every chunk, for three times as long as it has had a processor since the last rest: so it takes a
//!             quarter of one at most, and lasts no longer than at full speed and three times its processor time. While it rests it holds no
//!             lock and no guard, only its role and its snapshot; and it does not rest while a write waits for room, or somebody
//!             for it to end who has asked for one himself: that is begun then, as what he has committed may be in no earlier one.
//!             P7: it leaves the log half of what is free on the disk when it begins, or what the next segment takes, if that is less; so a small
//!             one is taken on a disk that is nearly full, where it may make room. One whose rows cannot fit, as far as is known beforehand,
//!             writes none of them, and one that finds out on its way takes no more.
//!             P8: whether an index, a table or columns are in it that somebody is about to log, or has logged and not said so, since that process is stopped, is what
//!             a cold start would find: the newest checkpoint before it, and after that the log up to C, which is durable by then, and which
//!             nobody removes as long as that checkpoint is one of two. Records above C are replayed on either.
//!             P9: what is to come is reserved of the disk some chunks ahead, within what P7 allows, as the file system then has less to do for each write; what was
//!             reserved and not needed is cut off before the sync of P3, so that the rows are as long as the manifest says. A reservation that was not made in full is
//!             given back at once, and none is tried after it: P7 is asked for every chunk that is not reserved.
//! Deaths      before the manifest has its name, `rows` without a manifest is left, which the next checkpoint but one removes; after it,
//!             what P5 would have removed, which the next one does. Two that take a checkpoint at once, as one was stopped for long,
//!             have two numbers.
//! `docs/durability.md` has the bytes.

#![forbid(unsafe_code)]

mod chunk;
mod error;
mod files;
mod manifest;
mod pace;
mod room;
mod take;
mod unsure;

pub use chunk::Compression;
pub(crate) use chunk::{Chunk, take_row};
pub use error::CheckpointError;
pub(crate) use files::{Listed, read_manifest, rewrite, rows_of_length};
pub use files::{Places, manifest_path, rows_path};
pub(crate) use manifest::{ChunkEntry, Manifest, TableEntry};
pub use take::{CheckpointOptions, CheckpointProgress, Taken, take};
