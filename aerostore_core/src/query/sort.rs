//! Sorting: copies of row images, by several columns, stable.
//!
//! Shape       each kept row has a *rank*: the first 64 bits of its first sort column in an order that integers compare by,
//!             which decides nearly always; only ties look at the images. `TopRows` is a heap with the worst row at its
//!             root, so that most rows of a long input are turned away by one comparison of ranks.

#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::field::Kind;
use super::plan::SortColumn;
use crate::row::{RowView, Schema};

/// Columns to sort by, and the schema of the rows.
#[derive(Clone, Copy)]
pub(super) struct SortOrder<'p> {
    first: Option<&'p SortColumn>,
    /// The columns that decide between rows of equal rank: not the first one, if its values are numbers.
    tie_breakers: &'p [SortColumn],
    schema: &'p Schema,
}

impl<'p> SortOrder<'p> {
    pub(super) fn new(columns: &'p [SortColumn], schema: &'p Schema) -> Self {
        let first = columns.first();
        let ranked = first.is_some_and(|first| first.field.kind() != Kind::Bytes);
        Self { first, tie_breakers: &columns[usize::from(ranked)..], schema }
    }

    /// The place of a row as far as its first sort column tells.
    #[inline]
    fn rank(self, row: RowView<'_>) -> u128 {
        match self.first {
            Some(first) if first.descending => !first.field.order_prefix(row),
            Some(first) => first.field.order_prefix(row),
            None => 0,
        }
    }

    /// The order of two rows of equal rank.
    fn compare(self, a: RowView<'_>, b: RowView<'_>) -> Ordering {
        for column in self.tie_breakers {
            let order = column.field.compare(a, b);
            if order != Ordering::Equal {
                return if column.descending { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }

    /// The same for copied images.
    #[inline]
    fn compare_images(self, a: &[u8], b: &[u8]) -> Ordering {
        if self.tie_breakers.is_empty() {
            return Ordering::Equal;
        }
        match (self.view(a), self.view(b)) {
            (Some(a), Some(b)) => self.compare(a, b),
            _ => Ordering::Equal,
        }
    }

    /// A copied image as a row again.
    fn view<'a>(self, image: &'a [u8]) -> Option<RowView<'a>>
    where
        'p: 'a,
    {
        // The image was copied from a view that had passed the same checks.
        let view = RowView::new(self.schema, image);
        debug_assert!(view.is_ok(), "a copied image is as good as the original");
        view.ok()
    }
}

/// Keeps all rows, one image behind the other.
pub(super) struct Sorter<'p> {
    order: SortOrder<'p>,
    images: Vec<u8>,
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    rank: u128,
    start: usize,
    end: usize,
}

impl<'p> Sorter<'p> {
    pub(super) fn new(order: SortOrder<'p>) -> Self {
        Self { order, images: Vec::new(), places: Vec::new() }
    }

    pub(super) fn push(&mut self, row: RowView<'_>) {
        let start = self.images.len();
        self.images.extend_from_slice(row.bytes());
        self.places.push(Place { rank: self.order.rank(row), start, end: self.images.len() });
    }

    /// Gives out the rows in order, until `visit` breaks, and forgets them.
    pub(super) fn finish(
        &mut self,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let image = |place: &Place| &self.images[place.start..place.end];
        self.places.sort_unstable_by(|a, b| {
            let by_columns = || self.order.compare_images(image(a), image(b));
            // Images lie in the order in which they came, which settles ties.
            a.rank.cmp(&b.rank).then_with(by_columns).then(a.start.cmp(&b.start))
        });
        let flow = self.places.iter().filter_map(|place| self.order.view(image(place))).try_for_each(visit);
        self.places.clear();
        self.images.clear();
        flow
    }
}

/// Keeps the first so many rows.
pub(super) struct TopRows<'p> {
    order: SortOrder<'p>,
    capacity: usize,
    offered: u64,
    /// A heap: no row comes after its parent, which is at `(index - 1) / 2`; so the root is the last of all.
    heap: Vec<Kept>,
}

struct Kept {
    rank: u128,
    /// How many rows were offered before.
    ordinal: u64,
    image: Vec<u8>,
}

impl<'p> TopRows<'p> {
    pub(super) fn new(order: SortOrder<'p>, capacity: usize) -> Self {
        Self { order, capacity, offered: 0, heap: Vec::new() }
    }

    /// Keeps a copy of `row` if it is among the first so far.
    pub(super) fn offer(&mut self, row: RowView<'_>) {
        let (rank, ordinal) = (self.order.rank(row), self.offered);
        self.offered += 1;
        if self.heap.len() < self.capacity {
            self.heap.push(Kept { rank, ordinal, image: row.bytes().to_vec() });
            self.sift_up(self.heap.len() - 1);
            return;
        }
        let Some(last) = self.heap.first_mut() else { return };
        // A row that ties with the last one comes later than it, and so is not among the first.
        let order = rank.cmp(&last.rank).then_with(|| self.order.compare_images(row.bytes(), &last.image));
        if order == Ordering::Less {
            last.rank = rank;
            last.ordinal = ordinal;
            last.image.clear();
            last.image.extend_from_slice(row.bytes());
            self.sift_down();
        }
    }

    /// Gives out the rows in order, until `visit` breaks, and forgets them.
    pub(super) fn finish(
        &mut self,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let order = self.order;
        self.heap.sort_unstable_by(|a, b| compare_kept(order, a, b));
        let flow = self.heap.iter().filter_map(|kept| order.view(&kept.image)).try_for_each(visit);
        self.heap.clear();
        flow
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if compare_kept(self.order, &self.heap[at], &self.heap[parent]) != Ordering::Greater {
                return;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    fn sift_down(&mut self) {
        let after = |heap: &[Kept], a: usize, b: usize| {
            compare_kept(self.order, &heap[a], &heap[b]) == Ordering::Greater
        };
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut last = at;
            for child in [left, right] {
                if child < self.heap.len() && after(&self.heap, child, last) {
                    last = child;
                }
            }
            if last == at {
                return;
            }
            self.heap.swap(at, last);
            at = last;
        }
    }
}

fn compare_kept(order: SortOrder<'_>, a: &Kept, b: &Kept) -> Ordering {
    let by_columns = || order.compare_images(&a.image, &b.image);
    a.rank.cmp(&b.rank).then_with(by_columns).then(a.ordinal.cmp(&b.ordinal))
}
