//! A table's definition in the arena: its bytes, and what rows have in columns that they were written without.
//!
//! Layout      a header, the schema's bytes, the template (`Schema::template`).
//! Invariants  C2 of `table`: a definition is written before it is linked and never changes. It names the one whose place it takes; both stay.

use super::table::TableRoot;
use crate::epoch::Guard;
use crate::row::{ColumnPlace, MAX_COLUMNS, RowError, Schema, Value};
use crate::shm::{Shared, ShmError};
use crate::sync::{AtomicU64, Ordering};
use std::mem::size_of;

#[repr(C)]
struct Header {
    /// Offset of the definition before it; 0 of the first.
    previous: AtomicU64,
    /// Bytes of the schema.
    schema: AtomicU64,
    /// Bytes of the template.
    template: AtomicU64,
}

const HEADER_BYTES: u64 = 24;
const _: () = assert!(size_of::<Header>() as u64 == HEADER_BYTES);

// SAFETY: repr(C), atomics only; written before it is linked; all-zero is an empty definition.
unsafe impl Shared for Header {}

/// A definition on its way into the arena.
pub struct NewDefinition {
    schema: Vec<u8>,
    template: Box<[u8]>,
    columns: usize,
}

impl NewDefinition {
    /// What is stored of `schema`.
    ///
    /// # Errors
    /// `TooWide` when the defaults do not fit into a row.
    pub fn new(schema: &Schema) -> Result<Self, RowError> {
        Ok(Self { schema: schema.to_bytes(), template: schema.template()?, columns: schema.columns().len() })
    }

    /// Bytes of the block that it needs.
    pub fn block_bytes(&self) -> usize {
        size_of::<Header>() + self.schema.len() + self.template.len()
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Fills a RESERVED block, which nobody else knows, with a definition that is to take the place of the one at `previous`.
    ///
    /// # Errors
    /// When the offset lies outside the arena.
    pub fn write(&self, guard: &Guard<'_>, offset: u64, previous: u64) -> Result<(), ShmError> {
        let header: &Header = guard.resolve(offset)?;
        header.previous.store(previous, Ordering::Relaxed);
        header.schema.store(self.schema.len() as u64, Ordering::Relaxed);
        header.template.store(self.template.len() as u64, Ordering::Relaxed);
        let mut at = offset + HEADER_BYTES;
        for part in [&self.schema[..], &self.template] {
            let place = guard.arena().bytes(at, part.len() as u64)?;
            // SAFETY: `bytes` checked the range; the block is RESERVED, so this session alone has its address.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), place, part.len()) };
            at += part.len() as u64;
        }
        Ok(())
    }
}

/// A definition found under a guard.
pub struct Definition<'g> {
    previous: u64,
    schema: &'g [u8],
    template: &'g [u8],
}

impl<'g> Definition<'g> {
    /// The newest of a table.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn newest(guard: &Guard<'g>, root: &TableRoot) -> Result<Self, ShmError> {
        // Acquire: what it names was written before.
        Self::at(guard, root.definition.load(Ordering::Acquire))
    }

    /// The one at that offset, which is one that stays, or is nobody else's to take away.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn at(guard: &Guard<'g>, offset: u64) -> Result<Self, ShmError> {
        let header: &Header = guard.resolve(offset)?;
        let [schema, template] =
            [&header.schema, &header.template].map(|length| length.load(Ordering::Relaxed));
        let begin = offset + HEADER_BYTES;
        let part = |begin: u64, length: u64| {
            let bytes = guard.arena().bytes(begin, length)?;
            // SAFETY: `bytes` checked the range; C2: a linked definition never changes, and stays.
            Ok::<_, ShmError>(unsafe {
                std::slice::from_raw_parts(bytes, usize::try_from(length).unwrap_or(0))
            })
        };
        let previous = header.previous.load(Ordering::Relaxed);
        Ok(Self {
            previous,
            schema: part(begin, schema)?,
            template: part(begin.saturating_add(schema), template)?,
        })
    }

    /// The offsets of that definition and of those before it, from the newest to the first.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn chain(guard: &Guard<'g>, offset: u64) -> Result<Vec<u64>, ShmError> {
        let mut chain = Vec::new();
        let mut at = offset;
        while at != 0 {
            // Each has more columns than the one before.
            if chain.len() == MAX_COLUMNS {
                return Err(ShmError::Corrupt { offset, what: "definitions of a table name each other" });
            }
            chain.push(at);
            at = Self::at(guard, at)?.previous;
        }
        Ok(chain)
    }

    /// The schema's bytes.
    pub fn schema(&self) -> &'g [u8] {
        self.schema
    }

    /// What a row has in a column that its image lacks (J2 of `row::stored`).
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn absent(&self, place: ColumnPlace) -> Result<Value<'g>, RowError> {
        place.value(self.template)
    }
}
