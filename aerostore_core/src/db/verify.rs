//! Checking the whole arena while nobody works in it: what the roots reach against what the block states say, and every
//! row's chain and index entries.

#![forbid(unsafe_code)]

use crate::db::{Database, Error};
use crate::epoch::Guard;
use crate::index::HashIndex;
use crate::index::key::{entry_key, key_bytes};
use crate::mvcc::{
    BeginWord, Definition, IndexRef, IndexRoots, NEVER, RowHeader, TableRoot, TableState, VersionRef,
};
use crate::row::{ColumnPlace, Copies};
use crate::shm::{BlockKind, BlockState, Marker, ShmError, SweepReport, mark_sweep, slabs_of, tagged_slabs};
use crate::sync::Ordering;
use crate::txn::{Session, TableRef, intent_blocks, ordered_index, stored_value, tables_ever};
use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

/// What a check found.
#[derive(Debug)]
pub struct VerifyReport {
    /// Blocks: reached, leaked, dangling.
    pub sweep: SweepReport,
    /// Rows checked.
    pub rows: u64,
    /// Versions checked.
    pub versions: u64,
    /// Entries of secondary indexes checked.
    pub entries: u64,
    /// Everything that is wrong, as sentences; empty when all is well.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Is everything as it should be?
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.sweep.leaked.is_empty() && self.sweep.dangling.is_empty()
    }
}

impl Database {
    /// Checks every block, row and version. Nobody else may have the database open, and no transaction may be.
    ///
    /// # Errors
    /// `Busy` when someone else has it open; `Corrupt` when the check cannot go on.
    pub fn verify(&self) -> Result<VerifyReport, Error> {
        let inner = &self.0;
        inner.check_open()?;
        if inner.store.registry().has_peers()? {
            return Err(Error::Busy { reason: "other processes have the database open".to_owned() });
        }
        let _none = inner.checkpointer.begin();
        let _quiet = inner.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut session = inner.session()?;
        let report = check(&mut session);
        inner.pool().put(session);
        report
    }
}

pub(super) fn check(session: &mut Session) -> Result<VerifyReport, Error> {
    crate::txn::reap_dead_processes(session)?;
    session.finish_indexes()?;
    let mut problems = Vec::new();
    let mut rows = 0;
    let mut versions = 0;
    let mut entries = 0;
    let list = tables_ever(session)?;
    for table in &list {
        let mut checker =
            TableCheck { session, table, problems: &mut problems, rows: 0, versions: 0, entries: 0 };
        checker.run()?;
        rows += checker.rows;
        versions += checker.versions;
        entries += checker.entries;
    }
    let guard = session.participant().pin();
    let sweep = mark_sweep(guard.arena(), |marker| mark(session, &guard, &list, marker))?;
    Ok(VerifyReport { sweep, rows, versions, entries, problems })
}

/// Marks everything that the roots reach.
fn mark(
    session: &Session,
    guard: &Guard<'_>,
    tables: &[TableRef],
    marker: &mut Marker,
) -> Result<(), ShmError> {
    let store = session.store();
    let registry = store.registry();
    let mut failure = None;
    registry.for_each_slot_ever(|_, slot| {
        let ring = slot.ring.load(Ordering::Acquire);
        if ring != 0 {
            marker.mark(ring);
        }
        match intent_blocks(guard, slot) {
            Ok(blocks) => blocks.into_iter().for_each(|block| {
                marker.mark(block);
            }),
            Err(error) => failure = Some(error),
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    for (owner, _, _) in registry.live_slots()? {
        // Decided records wait in their sessions until the log writer has passed them.
        for slab in slabs_of(guard.arena(), owner) {
            for (offset, word) in slab.blocks(guard.arena()) {
                if word.kind() == BlockKind::TXN_RECORD && word.state() == BlockState::Live {
                    marker.mark(offset);
                }
            }
        }
    }
    for table in tables {
        mark_table(guard, table, marker)?;
    }
    Ok(())
}

fn mark_table(guard: &Guard<'_>, table: &TableRef, marker: &mut Marker) -> Result<(), ShmError> {
    let root: &TableRoot = table.root(guard)?;
    marker.mark(table.root_offset());
    for definition in [&root.definition, &root.next_definition] {
        for offset in Definition::chain(guard, definition.load(Ordering::Acquire))? {
            marker.mark(offset);
        }
    }
    let index = table.primary_ever(guard)?;
    index.for_each_block(guard, |block| {
        marker.mark(block);
    })?;
    for index in IndexRoots::of(guard, root) {
        let index = index?;
        marker.mark(index.offset);
        if index.root.tree.load(Ordering::Acquire) != 0 {
            ordered_index(index).for_each_block(guard, |block| {
                marker.mark(block);
            })?;
        }
    }
    let mut rows = Vec::new();
    index.for_each_entry(guard, |row, _| rows.push(row))?;
    for row in rows {
        marker.mark(row);
        let header: &RowHeader = guard.resolve(row)?;
        let mut offset = guard.protect(&header.head);
        while offset != 0 {
            if !marker.mark(offset) {
                break;
            }
            offset = VersionRef::resolve(guard, offset)?.next(guard);
        }
    }
    Ok(())
}

struct TableCheck<'a> {
    session: &'a Session,
    table: &'a TableRef,
    problems: &'a mut Vec<String>,
    rows: u64,
    versions: u64,
    entries: u64,
}

impl TableCheck<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let guard = self.session.participant().pin();
        if self.table.root(&guard)?.state() == TableState::Gone {
            return Ok(()); // its slabs may be another table's
        }
        let mut entries: HashMap<u64, u32> = HashMap::new();
        let mut moving = Vec::new();
        let index = self.table.primary_ever(&guard)?;
        index.for_each_entry(&guard, |row, moves| {
            if moves {
                moving.push(row);
            } else {
                *entries.entry(row).or_default() += 1;
            }
        })?;
        // A row that is about to be moved may have been copied already by somebody who died before saying so.
        for row in moving {
            entries.entry(row).or_insert(1);
        }
        let root = self.table.root(&guard)?;
        for slab in tagged_slabs(guard.arena(), &root.rows)? {
            for (offset, word) in slab.blocks(guard.arena()) {
                match (word.state(), entries.remove(&offset)) {
                    (BlockState::Live, Some(1)) => self.row(&guard, &index, offset)?,
                    (BlockState::Live, Some(count)) => {
                        self.problem(&format!("row {offset} has {count} index entries"));
                    }
                    (BlockState::Live, None) => {
                        self.problem(&format!("row {offset} is not in the key index"));
                    }
                    (state, Some(_)) => {
                        self.problem(&format!("the key index has row {offset}, which is {state:?}"));
                    }
                    (_, None) => {}
                }
            }
        }
        let strays: Vec<u64> = entries.into_keys().collect();
        for row in strays {
            self.problem(&format!("the key index has {row}, which is no row of the table"));
        }
        for index in IndexRoots::of(&guard, root) {
            let index = index?;
            match index.root.place() {
                Some(place) if index.root.word().is_complete() => self.index(&guard, index, place)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Every row that is seen has its entry, alone in a unique index, and every entry a version that has its key.
    fn index(&mut self, guard: &Guard<'_>, index: IndexRef<'_>, place: ColumnPlace) -> Result<(), Error> {
        let table = self.table.root(guard)?;
        let mut entries: HashMap<u64, Vec<Vec<u8>>> = HashMap::new();
        let mut count: u64 = 0;
        ordered_index(index).for_each_entry(guard, |entry| {
            let mut key = Vec::new();
            entry.key_into(&mut key);
            entries.entry(entry.row()).or_default().push(key);
            count += 1;
        })?;
        self.entries += count;
        // It may have been added since the table was looked up.
        let known = self.table.schema().columns().get(place.column());
        let column =
            known.map_or_else(|| format!("column {}", place.column()), |known| known.name().to_owned());
        for problem in ordered_index(index).check_directory(guard)? {
            self.problem(&format!("the index on {column}: {problem}"));
        }
        let mut seen = index.root.spec().is_unique.then(HashSet::new);
        for slab in tagged_slabs(guard.arena(), &table.rows)? {
            for row in guard.live_blocks(slab)? {
                let mut keys = entries.remove(&row).unwrap_or_default();
                let header: &RowHeader = guard.resolve(row)?;
                let mut at = guard.protect(&header.head);
                let mut is_newest = true;
                let mut held = Vec::new();
                while at != 0 {
                    let version = VersionRef::resolve(guard, at)?;
                    at = version.next(guard);
                    if version.begin(guard) == BeginWord::Stamped(NEVER) {
                        continue;
                    }
                    if version.is_tombstone() {
                        is_newest = false;
                        continue;
                    }
                    let value = stored_value(guard, table, place, version.image())?;
                    let mut key = Vec::new();
                    entry_key(index.root.spec(), value, &mut key);
                    if is_newest && !keys.contains(&key) {
                        self.problem(&format!("row {row} has no entry in the index on {column}"));
                    }
                    let mut bytes = Vec::new();
                    key_bytes(value, &mut bytes);
                    if let Some(seen) = seen.as_mut().filter(|_| is_newest && !value.is_null())
                        && !seen.insert(bytes)
                    {
                        self.problem(&format!(
                            "row {row} has what another has in the unique index on {column}"
                        ));
                    }
                    is_newest = false;
                    held.push(key);
                }
                keys.retain(|key| !held.contains(key));
                if !keys.is_empty() {
                    self.problem(&format!(
                        "the index on {column} has {} entries of row {row} that no version has",
                        keys.len()
                    ));
                }
            }
        }
        for row in entries.into_keys().collect::<Vec<_>>() {
            self.problem(&format!("the index on {column} has {row}, which is no row of the table"));
        }
        Ok(())
    }

    fn problem(&mut self, text: &str) {
        self.problems.push(format!("{}: {text}", self.table.schema().name()));
    }

    fn row(&mut self, guard: &Guard<'_>, index: &HashIndex<'_>, offset: u64) -> Result<(), Error> {
        self.rows += 1;
        let row: &RowHeader = guard.resolve(offset)?;
        if row.owner.load(Ordering::Acquire) != 0 {
            self.problem(&format!("row {offset} is still owned"));
        }
        let hash = row.hash.load(Ordering::Relaxed);
        let found = index.find(guard, hash, |other| Ok::<bool, ShmError>(other == offset))?;
        if found.map(|found| found.row) != Some(offset) {
            self.problem(&format!("row {offset} is not found under its hash"));
        }
        let mut newer = u64::MAX;
        let mut at = guard.protect(&row.head);
        if at == 0 {
            self.problem(&format!("row {offset} has no version"));
        }
        while at != 0 {
            self.versions += 1;
            let version = VersionRef::resolve(guard, at)?;
            let next = version.next(guard);
            match version.begin(guard) {
                BeginWord::Intent(record) => {
                    self.problem(&format!("version {at} of row {offset} still waits for record {record}"));
                }
                BeginWord::Stamped(NEVER) if next != 0 => {
                    self.problem(&format!(
                        "version {at} of row {offset} never took effect and was not taken out"
                    ));
                }
                BeginWord::Stamped(begin) if begin >= newer => {
                    self.problem(&format!("version {at} of row {offset} is not older than the one above it"));
                }
                BeginWord::Stamped(begin) => newer = begin,
            }
            if version.row() != offset {
                self.problem(&format!("version {at} of row {offset} names row {}", version.row()));
            }
            // A tombstone has its key and nothing else.
            let sound = if version.is_tombstone() {
                self.table.key_of(version.image()).map(drop)
            } else {
                let copies = Copies::default();
                self.table.view(version.image(), &copies).and_then(|row| Ok(row.check()?))
            };
            if let Err(error) = sound {
                self.problem(&format!("version {at} of row {offset}: {error}"));
            }
            at = next;
        }
        Ok(())
    }
}
