//! What the words of a search came to, kept for the next call with the same words and other operands.
//!
//! Shape       each binding of a table keeps the searches last made by it; a binding goes when the table is dropped or gets columns, when the
//!             database is closed, and with its command and interpreter.
//! Rules       W1: words are the same by value: by being the same object, most often, and else by their text. Since a reference to each is
//!             kept, an object never comes to be another word. W2: of words that say which rows, in which order and how, all are compared but the
//!             operands of terms; operands, variables, scripts and changes are those of the call. W3: what is not found, or has something wrong in
//!             it, is read in full, and that says what is wrong. W4: lists of members (`in`) are read each time: they may be long. W5: so
//!             many searches are kept of a table; the one not used for the longest time goes.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use aerostore_core::query::{Literal, Operator, Plan, Query};

use super::options::{Role, Search, SearchOption};
use super::terms;
use crate::commands::table::Opened;
use crate::error::Error;
use crate::ffi::{Interp, Obj};

/// Searches kept of a table: more than a program has in its loops.
const MOST: usize = 32;

/// The searches kept of a table, the one used last first.
#[derive(Default)]
pub(in crate::commands) struct KeptSearches(RefCell<Vec<Rc<KeptSearch>>>);

/// One of them.
pub(in crate::commands) struct KeptSearch {
    words: Vec<Word>,
    /// Without rows, variables and scripts.
    search: Search,
    /// With some operands.
    pub(super) plan: Plan,
}

/// What a word has to be.
enum Word {
    /// This.
    Same(Obj),
    /// A list of such terms.
    Terms(Vec<Term>),
    /// A pattern, which is the operand of a term.
    Pattern,
    /// Anything: the value of this option.
    Given(SearchOption),
}

/// A term without its operands.
struct Term {
    operator: Obj,
    name: Obj,
    means: Operator,
    column: usize,
    operands: usize,
}

/// Which rows a search is for.
pub(in crate::commands) enum Asked {
    /// Those of this query.
    Query(Query),
    /// Those of a search that is kept, with these operands.
    Again(Rc<KeptSearch>, Vec<Literal>),
}

impl From<Query> for Asked {
    fn from(query: Query) -> Self {
        Self::Query(query)
    }
}

impl Asked {
    /// A plan for it.
    pub(super) fn plan(self, table: &Opened) -> Result<Plan, Error> {
        Ok(match self {
            Self::Query(query) => Plan::new(&table.bound.schema, query)?,
            Self::Again(kept, operands) => kept.plan.with_operands(operands)?,
        })
    }
}

impl KeptSearches {
    /// The search that the words after `search` ask for: one that is kept, or else one read anew, and kept.
    pub(super) fn find(&self, table: &Opened, interp: &Interp, words: &[Obj]) -> Result<Search, Error> {
        let words = &words[2..];
        let found = self.0.borrow().iter().enumerate().find_map(|(place, kept)| {
            let operands = kept.operands(table, words)?;
            Some((place, Rc::clone(kept), operands))
        });
        let Some((place, kept, operands)) = found else { return self.read(table, interp, words) };
        if place > 0 {
            self.0.borrow_mut()[..=place].rotate_right(1);
        }
        let mut search = kept.search.with_same_options();
        for (word, value) in kept.words.iter().zip(words) {
            if let Word::Given(option) = word {
                search.set(table, interp, *option, value)?;
            }
        }
        search.asked = Asked::Again(kept, operands);
        Ok(search)
    }

    /// The plan of `query`: with what is kept of one that differs in operands only, if there is one.
    pub(super) fn plan(&self, table: &Opened, query: Query) -> Result<Plan, Error> {
        let again = self.0.borrow().iter().find_map(|kept| kept.plan.again(&query));
        Ok(again.unwrap_or_else(|| Plan::new(&table.bound.schema, query))?)
    }

    /// Reads the words in full, and keeps the search if it can be.
    fn read(&self, table: &Opened, interp: &Interp, words: &[Obj]) -> Result<Search, Error> {
        let mut search = Search::read(table, interp, words)?;
        let Asked::Query(query) = &search.asked else { return Ok(search) };
        let Some(kept_words) = shape(table, interp, words) else { return Ok(search) };
        let plan = self.plan(table, query.clone())?;
        let kept = Rc::new(KeptSearch { words: kept_words, search: search.with_same_options(), plan });
        // The words have been read once more, and none of this runs a script.
        if let Some(operands) = kept.operands(table, words) {
            search.asked = Asked::Again(Rc::clone(&kept), operands);
            let mut searches = self.0.borrow_mut();
            searches.truncate(MOST - 1);
            searches.insert(0, kept);
        }
        Ok(search)
    }
}

/// What the words of a sound search have to be to ask for it again; `None` when it is not to be kept.
fn shape(table: &Opened, interp: &Interp, words: &[Obj]) -> Option<Vec<Word>> {
    let mut shape = Vec::with_capacity(words.len());
    let mut rest = words;
    while let [name, after @ ..] = rest {
        shape.push(Word::Same(name.clone()));
        rest = after;
        let option = SearchOption::find(interp, name).ok()?;
        let [value, after @ ..] = rest else { return None };
        rest = after;
        shape.push(match option.role() {
            Role::Fixed => Word::Same(value.clone()),
            Role::Terms => Word::Terms(
                value.items_if_list()?.iter().map(|term| Term::of(table, term)).collect::<Option<_>>()?,
            ),
            Role::Pattern => Word::Pattern,
            Role::Given => Word::Given(option),
            Role::Other => return None,
        });
        if option == SearchOption::Sort
            && let Some(first) = rest.first().filter(|word| matches!(word.bytes(), b"-asc" | b"-desc"))
        {
            shape.push(Word::Same(first.clone()));
            rest = &rest[1..];
        }
    }
    Some(shape)
}

impl Term {
    fn of(table: &Opened, term: &Obj) -> Option<Self> {
        let words = term.items_if_list()?;
        let [operator, name, operands @ ..] = &words[..] else { return None };
        let means = Operator::from_name(&operator.text().ok()?).filter(|means| !means.takes_list())?;
        let column = table.bound.column(name).ok()?;
        Some(Self { operator: operator.clone(), name: name.clone(), means, column, operands: operands.len() })
    }

    /// Adds the operands of `term`, if it is such a term.
    fn read(&self, table: &Opened, term: &Obj, operands: &mut Vec<Literal>) -> Option<()> {
        let words = term.items_if_list()?;
        let [operator, name, values @ ..] = &words[..] else { return None };
        if values.len() != self.operands || !operator.is_same(&self.operator) || !name.is_same(&self.name) {
            return None;
        }
        let column = table.bound.schema.column(self.column);
        for value in values {
            operands.push(terms::literal(column, self.means, value, term).ok()?);
        }
        Some(())
    }
}

impl KeptSearch {
    /// The operands, if these words ask for this search.
    fn operands(&self, table: &Opened, words: &[Obj]) -> Option<Vec<Literal>> {
        if words.len() != self.words.len() {
            return None;
        }
        let is_same = |(kept, word): (&Word, &Obj)| match kept {
            Word::Same(same) => word.is_same(same),
            _ => true,
        };
        if !self.words.iter().zip(words).all(is_same) {
            return None;
        }
        let mut operands = Vec::new();
        for (kept, word) in self.words.iter().zip(words) {
            match kept {
                Word::Terms(terms) => {
                    let items = word.items_if_list().filter(|items| items.len() == terms.len())?;
                    for (term, item) in terms.iter().zip(&items) {
                        term.read(table, item, &mut operands)?;
                    }
                }
                Word::Pattern => operands.push(Literal::Text(word.text().ok()?.into_owned())),
                Word::Same(_) | Word::Given(_) => {}
            }
        }
        Some(operands)
    }
}
