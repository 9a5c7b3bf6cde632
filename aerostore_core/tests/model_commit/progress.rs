//! Breadth-first search through every reachable state that remembers the steps between them, so that progress can be checked as
//! well: from everywhere there has to be a way to an end. A shortest way to what is broken is reported.

use crate::explore::{ByItself, fingerprint};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

/// Who does what.
pub(crate) type Deed = (&'static str, u8, &'static str);

/// Something that goes in steps from state to state.
pub(crate) trait World {
    type State: Copy + Eq + Hash;

    /// What the scenario is called.
    fn name(&self) -> &'static str;
    fn initial(&self) -> Self::State;
    /// Every state that one step leads to.
    fn successors(&self, state: &Self::State, into: &mut Vec<(Deed, Self::State)>);
    /// The promise that is broken in `state`, in words.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
    /// Has everybody who lives come to an end?
    fn is_over(&self, state: &Self::State) -> bool;
}

/// What a search has seen.
pub(crate) struct Outcome {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// The first promise found broken, and how it came about.
    pub(crate) violation: Option<(&'static str, Vec<Deed>)>,
}

/// Visits every reachable state, or stops at the first that is broken; then looks for those from which no end can be reached.
pub(crate) fn search<W: World>(world: &W) -> Outcome {
    let mut numbers: HashMap<u128, u32, ByItself> = HashMap::default();
    let first = world.initial();
    numbers.insert(fingerprint(&first), 0);
    // By whom and from where each state was reached first.
    let mut reached: Vec<Option<(Deed, u32)>> = vec![None];
    let mut is_over = vec![world.is_over(&first)];
    // The steps, by where they lead.
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut due = VecDeque::from([first]);
    let mut next = Vec::with_capacity(16);
    let mut at = 0;
    while let Some(state) = due.pop_front() {
        world.successors(&state, &mut next);
        for (deed, state) in next.drain(..) {
            let to = match numbers.entry(fingerprint(&state)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => {
                    let to = number(reached.len());
                    unknown.insert(to);
                    reached.push(Some((deed, at)));
                    if let Some(promise) = world.broken(&state) {
                        let violation = Some((promise, way_to(&reached, to)));
                        return Outcome { states: reached.len(), steps: edges.len(), violation };
                    }
                    is_over.push(world.is_over(&state));
                    due.push_back(state);
                    to
                }
            };
            edges.push((to, at));
        }
        at += 1;
    }
    let violation = first_without_end(is_over, &mut edges)
        .map(|state| ("somebody waits for ever", way_to(&reached, state)));
    Outcome { states: reached.len(), steps: edges.len(), violation }
}

/// Searches a scenario and prints how much there was to see.
pub(crate) fn searched<W: World>(world: &W) -> Outcome {
    let outcome = search(world);
    println!("{:40} {:10} states {:11} steps", world.name(), outcome.states, outcome.steps);
    outcome
}

/// Searches scenarios of `what`, one after the other; all promises have to hold.
pub(crate) fn every_promise_holds<W: World>(what: &str, scenarios: impl IntoIterator<Item = W>) {
    println!();
    let mut states = 0;
    for scenario in scenarios {
        let outcome = searched(&scenario);
        assert_eq!(outcome.violation, None, "{}", scenario.name());
        states += outcome.states;
    }
    println!("model_commit: {states} states of {what}, 0 violations");
}

/// Breaks `what` in every way; each has to be found in one of the scenarios.
pub(crate) fn every_mutation_is_caught<W: World, M: Copy + Debug>(
    what: &str,
    scenarios: &[W],
    mutations: &[M],
    with: impl Fn(&W, M) -> W,
) {
    println!();
    for mutation in mutations {
        let broken = |scenario: &W| search(&with(scenario, *mutation)).violation;
        let Some((promise, way)) = scenarios.iter().find_map(broken) else {
            panic!("nothing is broken by {mutation:?}")
        };
        let (name, steps) = (format!("{mutation:?}"), way.len());
        println!("{name:24} {steps:3} steps: {promise}");
    }
    println!("model_commit: {0} of {0} mutations of {what} caught", mutations.len());
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("the states fit in memory")
}

fn way_to(reached: &[Option<(Deed, u32)>], state: u32) -> Vec<Deed> {
    let mut way = Vec::new();
    let mut at = state;
    while let Some((deed, from)) = reached[at as usize] {
        way.push(deed);
        at = from;
    }
    way.reverse();
    way
}

/// The first state from which no step after step leads to one that `is_over`.
fn first_without_end(is_over: Vec<bool>, edges: &mut [(u32, u32)]) -> Option<u32> {
    edges.sort_unstable();
    let mut leads_on = is_over;
    let mut due: Vec<u32> = (0..number(leads_on.len())).filter(|state| leads_on[*state as usize]).collect();
    while let Some(state) = due.pop() {
        let first = edges.partition_point(|(to, _)| *to < state);
        for (_, from) in edges[first..].iter().take_while(|(to, _)| *to == state) {
            if !std::mem::replace(&mut leads_on[*from as usize], true) {
                due.push(*from);
            }
        }
    }
    leads_on.iter().position(|leads_on| !leads_on).map(number)
}
