//! One file of the disk in memory: what it reads as, and what else a power loss may leave of it.
//!
//! Rules       M1: a sector of 512 bytes is on the disk as it read at some moment since the last sync that settled it; every sector by
//!             itself. M2: the same holds for the length, which need not go with the sectors. M3: a good sync settles what was
//!             written since the last sync, good or failed. What a failed sync left in doubt stays so until it is written again
//!             and synced: the kernel has forgotten that it never reached the disk.

use std::collections::BTreeMap;

pub(super) const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// What a value was since it was last settled, beside what it is now.
#[derive(Debug, Clone)]
struct Past<T> {
    /// Oldest first.
    values: Vec<T>,
    /// Changed since the last sync, so that the next one settles it (M3).
    is_dirty: bool,
}

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self { values: Vec::new(), is_dirty: false }
    }
}

impl<T: PartialEq + Clone> Past<T> {
    fn note(&mut self, old: T) {
        if self.values.last() != Some(&old) {
            self.values.push(old);
        }
        self.is_dirty = true;
    }

    /// What the disk has: the newest that `keep` says yes to, or the oldest.
    fn pick(&self, now: &T, keep: &mut dyn FnMut() -> bool) -> T {
        let newest_first = std::iter::once(now).chain(self.values.iter().rev());
        newest_first.take(self.values.len()).find(|_| keep()).or(self.values.first()).unwrap_or(now).clone()
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    live: Vec<u8>,
    sectors: BTreeMap<usize, Past<Sector>>,
    lengths: Past<usize>,
}

fn sector_of(bytes: &[u8], index: usize) -> Sector {
    let mut sector = [0; SECTOR];
    let rest = bytes.get(index * SECTOR..).unwrap_or_default();
    let count = rest.len().min(SECTOR);
    sector[..count].copy_from_slice(&rest[..count]);
    sector
}

impl Contents {
    /// A file all of which is on the disk.
    pub(super) fn settled(bytes: Vec<u8>) -> Self {
        Self { live: bytes, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        for index in offset / SECTOR..end.div_ceil(SECTOR) {
            self.note(index);
        }
        if self.live.len() < end {
            self.set_length(end);
        }
        self.live[offset..end].copy_from_slice(bytes);
    }

    fn note(&mut self, index: usize) {
        self.sectors.entry(index).or_default().note(sector_of(&self.live, index));
    }

    /// Cuts the file, or makes it longer by zeros.
    pub(super) fn set_length(&mut self, length: usize) {
        self.lengths.note(self.live.len());
        let cut = length / SECTOR..self.live.len().div_ceil(SECTOR);
        for index in cut {
            if sector_of(&self.live, index) != [0; SECTOR] {
                self.note(index);
            }
        }
        self.live.resize(length, 0);
    }

    /// M3.
    pub(super) fn sync(&mut self, is_good: bool) {
        if is_good {
            self.sectors.retain(|_, past| !past.is_dirty);
            if self.lengths.is_dirty {
                self.lengths = Past::default();
            }
            return;
        }
        for past in self.sectors.values_mut() {
            past.is_dirty = false;
        }
        self.lengths.is_dirty = false;
    }

    /// What a power loss leaves, as `keep` says of each change that no sync has settled, newest first; none when all is settled, so that it
    /// leaves this.
    pub(super) fn after_power_loss(&self, keep: &mut dyn FnMut() -> bool) -> Option<Self> {
        if self.sectors.is_empty() && self.lengths.values.is_empty() {
            return None;
        }
        let mut bytes = self.live.clone();
        bytes.resize(self.lengths.pick(&self.live.len(), keep), 0);
        for (&index, past) in &self.sectors {
            let sector = past.pick(&sector_of(&self.live, index), keep);
            let start = bytes.len().min(index * SECTOR);
            let end = bytes.len().min(start + SECTOR);
            bytes[start..end].copy_from_slice(&sector[..end - start]);
        }
        Some(Self::settled(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file that a power loss may leave.
    fn outcomes(contents: &Contents) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = (0..1_u32 << 10)
            .map(|mut coins| {
                let mut keep = || {
                    let coin = coins & 1 == 1;
                    coins >>= 1;
                    coin
                };
                contents.after_power_loss(&mut keep).map_or_else(|| contents.live.clone(), |left| left.live)
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    fn filled(parts: &[(u8, usize)]) -> Vec<u8> {
        parts.iter().flat_map(|&(byte, count)| std::iter::repeat_n(byte, count)).collect()
    }

    #[test]
    fn a_write_that_is_not_synced_is_found_by_sectors_or_not_at_all() {
        let mut contents = Contents::settled(vec![1; 1024]);
        contents.write(0, &[2; 1024]);
        let (old, new) = (1, 2);
        let expected = [
            filled(&[(old, 1024)]),
            filled(&[(old, 512), (new, 512)]),
            filled(&[(new, 512), (old, 512)]),
            filled(&[(new, 1024)]),
        ];
        assert_eq!(outcomes(&contents), expected);
        contents.sync(true);
        assert_eq!(outcomes(&contents), expected[3..]);
    }

    #[test]
    fn a_sector_written_twice_is_found_as_it_was_at_any_time() {
        let mut contents = Contents::settled(vec![1; 512]);
        contents.write(0, &[2; 100]);
        contents.write(100, &[3; 412]);
        let expected = [filled(&[(1, 512)]), filled(&[(2, 100), (1, 412)]), filled(&[(2, 100), (3, 412)])];
        assert_eq!(outcomes(&contents), expected);
    }

    #[test]
    fn a_failed_sync_leaves_in_doubt_what_a_later_good_one_does_not_settle() {
        let mut contents = Contents::settled(vec![1; 512]);
        contents.write(0, &[2; 512]);
        contents.sync(false);
        contents.sync(true);
        assert_eq!(outcomes(&contents), [vec![1; 512], vec![2; 512]]);
        contents.write(0, &[3; 512]);
        contents.sync(true);
        assert_eq!(outcomes(&contents), [vec![3; 512]]);
    }

    #[test]
    fn a_length_is_the_old_or_the_new_one_until_it_is_synced() {
        let mut contents = Contents::settled(vec![1; 600]);
        contents.set_length(100);
        let cut = [vec![1; 100], filled(&[(1, 100), (0, 500)]), filled(&[(1, 512), (0, 88)])];
        let found = outcomes(&contents);
        assert!(cut.iter().all(|file| found.contains(file)) && found.contains(&vec![1; 600]), "{found:?}");
        contents.set_length(700);
        let found = outcomes(&contents);
        assert!(found.iter().any(|file| file.len() == 700) && found.iter().any(|file| file.len() == 600));
        contents.sync(true);
        assert_eq!(outcomes(&contents), [filled(&[(1, 100), (0, 600)])]);
    }
}
