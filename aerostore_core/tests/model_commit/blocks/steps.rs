//! What one does in one step, and what comes next.

use super::state::{
    Anchor, FULL, Goal, Hint, Mutation, Place, ROWS, STAYS, State, Step, Word, bit, upper_half,
};
use super::{Blocks, GOALS};

impl Blocks {
    /// One step of one of them.
    pub(super) fn step(&self, s: &mut State, actor: usize) -> &'static str {
        let goal_of_all = GOALS[actor];
        let (next, what) = match s.actors[actor].step {
            Step::Link => {
                s.has_key = true;
                (Step::Descend(goal_of_all), "links a version")
            }
            Step::LookFirst | Step::Look { .. } if s.has_key => (Step::Done, "sees the version"),
            Step::LookFirst => (Step::Descend(goal_of_all), "sees no version"),
            Step::Descend(goal) => {
                let anchor = Self::hinted(s, goal);
                (Step::Load { goal, anchor, is_hinted: true }, "loads the hints")
            }
            Step::Load { goal, anchor, is_hinted } => {
                (self.load(s, actor, goal, anchor, is_hinted), "loads a word")
            }
            Step::Look { place } => {
                let Anchor { entries, right, .. } = place.block;
                let put = Step::Put { goal: Goal::Remove, place, entries: entries & !bit(ROWS), right };
                (put, "sees no version")
            }
            Step::Put { goal, place, entries, right } => {
                (self.put(s, actor, goal, place, entries, right), "changes a word")
            }
            Step::LinkHalf { goal, place, half } => {
                s.anchors[usize::from(place)].right = half;
                s.anchors[usize::from(place)].count += 1;
                (after_put(s, actor, goal, Some(half)), "links the other half")
            }
            Step::Hint { anchor } => (Step::Check { anchor, top: s.top }, "loads the hints"),
            Step::Check { anchor, top } => {
                let goes = s.anchors[usize::from(anchor)].word != Word::InForce;
                let has_it = top.find(anchor).is_some();
                let next = if has_it || (goes && !self.is(Mutation::HintsAtWhatGoes)) {
                    self.resume(s, actor)
                } else {
                    Step::AddHint { anchor, top }
                };
                (next, "looks at an anchor without a hint")
            }
            Step::AddHint { anchor, top } if s.top == top => {
                let low = |number: u8| s.anchors[usize::from(number)].low;
                let index = top.all().iter().filter(|hint| low(hint.anchor) <= low(anchor)).count();
                s.top.insert(index, Hint { anchor, is_closing: false });
                s.top.count += 1;
                (self.resume(s, actor), "adds a hint")
            }
            Step::AddHint { anchor, .. } => (Step::Hint { anchor }, "finds the hints changed"),
            _ => self.step_of_merge(s, actor),
        };
        s.actors[actor].step = next;
        what
    }

    /// One step of letting an anchor go.
    fn step_of_merge(&self, s: &mut State, actor: usize) -> (Step, &'static str) {
        match s.actors[actor].step {
            Step::Choose => match s.top.find(self.goes) {
                Some(index) if !s.top.hints[index].is_closing => {
                    (Step::Close { top: s.top, index }, "chooses an anchor")
                }
                Some(_) => (self.let_go(s, actor, self.goes), "finds an anchor that is closing"),
                None => (Step::Done, "finds no anchor to merge"),
            },
            Step::Close { top, index } if s.top == top => {
                s.top.hints[index].is_closing = true;
                s.top.count += 1;
                (self.let_go(s, actor, self.goes), "closes a hint")
            }
            Step::Close { .. } => (Step::Done, "finds the hints changed"),
            Step::Merge { anchor } => {
                let block = s.anchors[usize::from(anchor)];
                let next = match block.word {
                    Word::InForce if self.is(Mutation::MergesTheUnfrozen) => {
                        Step::Descend(Goal::Left(anchor))
                    }
                    Word::InForce => Step::Freeze { anchor, block },
                    Word::Frozen if self.is(Mutation::DiesBeforeItIsMerged) => Step::Die { anchor, block },
                    Word::Frozen => Step::Descend(Goal::Left(anchor)),
                    Word::Unused | Word::Dead => Step::Drop { anchor },
                };
                (next, "loads the word of one that goes")
            }
            Step::Freeze { anchor, block } => {
                let word = &mut s.anchors[usize::from(anchor)];
                if *word == block {
                    word.word = Word::Frozen;
                    word.count += 1;
                }
                (Step::Merge { anchor }, "freezes")
            }
            Step::Die { anchor, block } => {
                let word = &mut s.anchors[usize::from(anchor)];
                if word.count == block.count {
                    word.word = Word::Dead;
                    word.count += 1;
                }
                (Step::Merge { anchor }, "lets an anchor die")
            }
            Step::Drop { anchor } => {
                let next = match s.top.find(anchor) {
                    Some(index) => Step::DropHint { top: s.top, index },
                    None => self.resume(s, actor),
                };
                (next, "looks for a hint to drop")
            }
            Step::DropHint { top, index } => {
                let anchor = top.hints[index].anchor;
                if s.top == top {
                    s.top.remove(index);
                    s.top.count += 1;
                    s.anchors[usize::from(anchor)].is_retired = true;
                    (self.resume(s, actor), "drops a hint")
                } else {
                    (Step::Drop { anchor }, "finds the hints changed")
                }
            }
            other => (other, "rests"),
        }
    }

    /// Is an anchor with this low key on the left of what one goes down for?
    fn is_left(s: &State, goal: Goal, low: u8) -> bool {
        match goal {
            Goal::Insert(entry) => low <= entry,
            Goal::Remove => low <= ROWS,
            Goal::Seek | Goal::Merge => low <= STAYS,
            Goal::Left(anchor) => low < s.anchors[usize::from(anchor)].low,
        }
    }

    fn hinted(s: &State, goal: Goal) -> u8 {
        let low = |hint: &&Hint| s.anchors[usize::from(hint.anchor)].low;
        let left = s.top.all().iter().take_while(|hint| Self::is_left(s, goal, low(hint)));
        left.filter(|hint| !hint.is_closing).last().map_or(0, |hint| hint.anchor)
    }

    fn load(&self, s: &mut State, actor: usize, goal: Goal, anchor: u8, is_hinted: bool) -> Step {
        let block = s.anchors[usize::from(anchor)];
        let is_frozen = block.word == Word::Frozen;
        if block.word == Word::Dead || (is_frozen && is_hinted) {
            return Step::Descend(goal);
        }
        if block.right != 0 && Self::is_left(s, goal, s.anchors[usize::from(block.right)].low) {
            return Step::Load { goal, anchor: block.right, is_hinted: false };
        }
        let place = Place { anchor, block, is_hinted };
        let put = |entries, right| Step::Put { goal, place, entries, right };
        match goal {
            Goal::Seek | Goal::Merge => {
                s.has_missed |= block.entries & bit(STAYS) == 0;
                Step::Done
            }
            Goal::Remove if block.entries & bit(ROWS) == 0 => Step::Done,
            Goal::Remove if self.is(Mutation::LooksBeforeItLoads) => {
                put(block.entries & !bit(ROWS), block.right)
            }
            Goal::Remove => Step::Look { place },
            Goal::Insert(entry) => {
                if block.entries & bit(entry) != 0 && self.is(Mutation::AddsAgainInSilence) {
                    return Step::Done;
                }
                put(block.entries | bit(entry), block.right)
            }
            Goal::Left(goes) => {
                let merged = s.anchors[usize::from(goes)];
                if block.right != goes {
                    Step::Die { anchor: goes, block: merged }
                } else if is_frozen {
                    self.let_go(s, actor, anchor)
                } else {
                    put(block.entries | merged.entries, merged.right)
                }
            }
        }
    }

    /// The CAS, from the block that was loaded; with more entries than a block has, a split.
    fn put(&self, s: &mut State, actor: usize, goal: Goal, place: Place, entries: u8, right: u8) -> Step {
        let Place { anchor: number, block, is_hinted } = place;
        if block.word == Word::Frozen {
            return self.let_go(s, actor, number);
        }
        let again = match goal {
            Goal::Left(anchor) => Step::Merge { anchor },
            Goal::Remove if self.is(Mutation::LooksBeforeItLoads) => Step::LookFirst,
            goal => Step::Descend(goal),
        };
        let half = s.anchors.iter().position(|anchor| anchor.word == Word::Unused);
        let anchor = &mut s.anchors[usize::from(number)];
        if (anchor.count, anchor.word) != (block.count, block.word) {
            return again;
        }
        anchor.count += 1;
        (anchor.entries, anchor.right) = (entries, right);
        if entries.count_ones() <= FULL {
            // Whoever has missed a hint on the way to its entry adds it.
            let unhinted = (!is_hinted && !matches!(goal, Goal::Left(_))).then_some(number);
            return after_put(s, actor, goal, unhinted);
        }
        let half = half.expect("anchors enough");
        let low = upper_half(entries).trailing_zeros().try_into().expect("entries are few");
        let half_number = u8::try_from(half).expect("anchors are few");
        anchor.entries = entries & (bit(low) - 1);
        if !self.is(Mutation::SplitsInTwoSteps) {
            anchor.right = half_number;
        }
        s.anchors[half] =
            Anchor { word: Word::InForce, low, entries: upper_half(entries), right, ..Anchor::default() };
        if self.is(Mutation::SplitsInTwoSteps) {
            Step::LinkHalf { goal, place: number, half: half_number }
        } else {
            after_put(s, actor, goal, Some(half_number))
        }
    }

    /// What comes when an anchor is gone, or a hint added.
    fn resume(&self, s: &mut State, actor: usize) -> Step {
        let it = &mut s.actors[actor];
        if it.step_drops() {
            it.met = [it.met[1], 0];
        }
        match (it.met[0], GOALS[actor]) {
            (0, Goal::Merge) => Step::Done,
            (0, _) if it.is_done => Step::Done,
            (0, Goal::Remove) if self.is(Mutation::LooksBeforeItLoads) => Step::LookFirst,
            (0, goal) => Step::Descend(goal),
            (anchor, _) => Step::Merge { anchor },
        }
    }

    /// An anchor goes before anything else does.
    fn let_go(&self, s: &mut State, actor: usize, anchor: u8) -> Step {
        let met = &mut s.actors[actor].met;
        if met[0] != anchor {
            assert_eq!(met[1], 0, "no more than two on the way");
            *met = [anchor, met[0]];
        }
        if self.is(Mutation::IsForgottenAlive) { Step::Drop { anchor } } else { Step::Merge { anchor } }
    }
}

/// What comes after a block was put in, with an anchor that has no hint, or none.
fn after_put(s: &mut State, actor: usize, goal: Goal, unhinted: Option<u8>) -> Step {
    match (unhinted, goal) {
        (Some(anchor), _) => {
            if !matches!(goal, Goal::Left(_)) {
                s.actors[actor].is_done = true;
            }
            Step::Hint { anchor }
        }
        (None, Goal::Left(anchor)) => Step::Merge { anchor },
        (None, _) => Step::Done,
    }
}
