//! Sorting: copies of row images, by several columns, stable; kept by one thread, or by several and then merged.
//!
//! Shape       each kept row has a *rank*: the first 64 bits of its first sort column in an order that integers compare by,
//!             which decides nearly always; only ties look at the images. `TopRows` is a heap with the worst row at its
//!             root, so that most rows of a long input are turned away by one comparison of ranks. Each row has an *ordinal* too,
//!             the order in which the source has it, which settles ties: so it does not show who kept which row.

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

/// Matching rows that are to be sorted: all of them, or those that can still come out.
pub(super) enum Kept<'p> {
    /// All.
    All(Sorter<'p>),
    /// The first so many.
    Top(TopRows<'p>),
}

impl<'p> Kept<'p> {
    /// None yet: of all rows, or of the first `most`.
    pub(super) fn new(order: SortOrder<'p>, most: Option<usize>) -> Self {
        match most {
            Some(rows) => Self::Top(TopRows::new(order, rows)),
            None => Self::All(Sorter::new(order)),
        }
    }

    /// The rows that follow are of this part of the source, which is later than the ones before. A part has less than 2^32 rows.
    pub(super) fn begin_part(&mut self, part: usize) {
        let first = (part as u64) << 32;
        match self {
            Self::All(rows) => rows.next_ordinal = first,
            Self::Top(rows) => rows.next_ordinal = first,
        }
    }

    /// Keeps a copy of `row`, if it can still come out.
    #[inline]
    pub(super) fn push(&mut self, row: RowView<'_>) {
        match self {
            Self::All(rows) => rows.push(row),
            Self::Top(rows) => rows.offer(row),
        }
    }

    /// Puts the rows in order.
    pub(super) fn sort(&mut self) {
        match self {
            Self::All(rows) => rows.sort(),
            Self::Top(rows) => rows.sort(),
        }
    }

    /// Gives out the rows in order, until `visit` breaks, and is empty then.
    pub(super) fn finish(
        &mut self,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.sort();
        match self {
            Self::All(rows) => rows.finish(visit),
            Self::Top(rows) => rows.finish(visit),
        }
    }

    /// Gives out the rows that several have kept of one source, each of which has put its own in order, until `visit` breaks.
    pub(super) fn finish_all(
        all: Vec<Self>,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (mut sorters, mut tops) = (Vec::new(), Vec::new());
        for kept in all {
            match kept {
                Self::All(rows) => sorters.push(rows),
                Self::Top(rows) => tops.push(rows),
            }
        }
        TopRows::finish_all(tops, visit)?;
        Sorter::finish_all(&sorters, visit)
    }
}

/// Keeps all rows, one image behind the other.
pub(super) struct Sorter<'p> {
    order: SortOrder<'p>,
    /// Each with its length before it.
    images: Vec<u8>,
    places: Vec<Place>,
    next_ordinal: u64,
}

#[derive(Clone, Copy)]
struct Place {
    rank: u128,
    ordinal: u64,
    start: usize,
}

const LENGTH_BYTES: usize = size_of::<usize>();

impl<'p> Sorter<'p> {
    fn new(order: SortOrder<'p>) -> Self {
        Self { order, images: Vec::new(), places: Vec::new(), next_ordinal: 0 }
    }

    fn push(&mut self, row: RowView<'_>) {
        let start = self.images.len();
        self.images.extend_from_slice(&row.bytes().len().to_ne_bytes());
        self.images.extend_from_slice(row.bytes());
        self.places.push(Place { rank: self.order.rank(row), ordinal: self.next_ordinal, start });
        self.next_ordinal += 1;
    }

    fn image(&self, place: &Place) -> &[u8] {
        let Some((length, rest)) = self.images[place.start..].split_first_chunk::<LENGTH_BYTES>() else {
            return &[];
        };
        &rest[..usize::from_ne_bytes(*length)]
    }

    fn compare(&self, place: &Place, other: &Self, others: &Place) -> Ordering {
        let by_columns = || self.order.compare_images(self.image(place), other.image(others));
        place.rank.cmp(&others.rank).then_with(by_columns).then(place.ordinal.cmp(&others.ordinal))
    }

    fn sort(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|a, b| self.compare(a, self, b));
        self.places = places;
    }

    fn finish(&mut self, visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let flow =
            self.places.iter().filter_map(|place| self.order.view(self.image(place))).try_for_each(visit);
        self.places.clear();
        self.images.clear();
        flow
    }

    fn finish_all(all: &[Self], visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut left: Vec<(&Self, &[Place])> = all.iter().map(|rows| (rows, &rows.places[..])).collect();
        loop {
            left.retain(|(_, places)| !places.is_empty());
            let first =
                left.iter_mut().min_by(|(a, places), (b, others)| a.compare(&places[0], b, &others[0]));
            let Some((rows, places)) = first else { return ControlFlow::Continue(()) };
            if let Some(row) = rows.order.view(rows.image(&places[0])) {
                visit(row)?;
            }
            *places = &places[1..];
        }
    }
}

/// Keeps the first so many rows.
pub(super) struct TopRows<'p> {
    order: SortOrder<'p>,
    capacity: usize,
    next_ordinal: u64,
    /// A heap: no row comes after its parent, which is at `(index - 1) / 2`; so the root is the last of all.
    heap: Vec<TopRow>,
}

struct TopRow {
    rank: u128,
    ordinal: u64,
    image: Vec<u8>,
}

impl<'p> TopRows<'p> {
    fn new(order: SortOrder<'p>, capacity: usize) -> Self {
        Self { order, capacity, next_ordinal: 0, heap: Vec::new() }
    }

    /// Keeps a copy of `row` if it is among the first so far.
    fn offer(&mut self, row: RowView<'_>) {
        let (rank, ordinal) = (self.order.rank(row), self.next_ordinal);
        self.next_ordinal += 1;
        if self.heap.len() < self.capacity {
            self.heap.push(TopRow { rank, ordinal, image: row.bytes().to_vec() });
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

    fn sort(&mut self) {
        let order = self.order;
        self.heap.sort_unstable_by(|a, b| compare_kept(order, a, b));
    }

    fn finish(&mut self, visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let order = self.order;
        let flow = self.heap.iter().filter_map(|kept| order.view(&kept.image)).try_for_each(visit);
        self.heap.clear();
        flow
    }

    fn finish_all(all: Vec<Self>, visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let together = all.into_iter().reduce(|mut together, rows| {
            together.heap.extend(rows.heap);
            together
        });
        let Some(mut together) = together else { return ControlFlow::Continue(()) };
        together.sort();
        together.heap.truncate(together.capacity);
        together.finish(visit)
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
        let after = |heap: &[TopRow], a: usize, b: usize| {
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

fn compare_kept(order: SortOrder<'_>, a: &TopRow, b: &TopRow) -> Ordering {
    let by_columns = || order.compare_images(&a.image, &b.image);
    a.rank.cmp(&b.rank).then_with(by_columns).then(a.ordinal.cmp(&b.ordinal))
}
