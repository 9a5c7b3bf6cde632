//! Queries as one line of text, for command lines and tools.
//!
//! ```text
//! query   = [ any ] { clause }
//! any     = all { "or" all }
//! all     = not { "and" not }
//! not     = "not" not | "(" any ")" | term
//! term    = column operator { value }        altitude > 10000     gs between 300 450     lat notnull
//!         | column ("in" | "notin") "(" [ value { "," value } ] ")"
//! clause  = "sort" ["-"] column { "," ["-"] column }     | "columns" column { "," column }
//!         | "limit" number | "offset" number | "index" column | "threads" number
//! ```
//!
//! Operators are those of compare lists, with as many values as each takes. Columns and values are words, which end at a space, a parenthesis, a
//! comma or one of `= ! < >`; or anything between two `'` or two `"`, in which the quote itself is written twice. Quoted, a word is no keyword;
//! `\N` is the null. Without a condition every row is meant.
//!
//! Rules       T1: no text makes it panic, and conditions within conditions end at [`MAX_DEPTH`], so that no text exhausts the stack of those who
//!             walk the tree. T2: what it makes is the same tree as the other front ends', through the same checks.

#![forbid(unsafe_code)]

use super::compare;
use super::error::QueryError;
use super::operator::Operator;
use super::syntax::{Expr, Query, SortKey};
use crate::row::Schema;

/// How deep parentheses and negations may nest.
pub const MAX_DEPTH: usize = 64;

/// Reads a query for a table of `schema`.
///
/// # Errors
///
/// [`QueryError::Text`] with the place and what was expected there; for a term, what [`compare::term`] reports.
///
/// # Examples
///
/// ```
/// use aerostore_core::query::{Plan, text};
/// use aerostore_core::row::{Column, ColumnType, Schema};
/// use std::sync::Arc;
///
/// let schema = Schema::builder("Fix").column(Column::new("alt", ColumnType::I32)).key("alt").build()?;
/// let query = text::parse(&schema, "not (alt < 100 or alt in (7, 9)) sort -alt limit 10")?;
/// Plan::new(&Arc::new(schema.clone()), query)?;
///
/// let error = text::parse(&schema, "alt > 5 and").unwrap_err();
/// assert_eq!(error.to_string(), "bad query \"alt > 5 and\": expected a condition at the end");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parse(schema: &Schema, text: &str) -> Result<Query, QueryError> {
    let mut reader = Reader { schema, text, rest: text, next: Token::End, next_at: 0 };
    reader.advance()?;
    let starts_with_clause = Clause::of(&reader.next).is_some() || reader.next == Token::End;
    let mut query = if starts_with_clause { Query::all() } else { Query::filtered(reader.any(0)?) };
    while let Some(clause) = Clause::of(&reader.next) {
        reader.advance()?;
        query = reader.clause(clause, query)?;
    }
    match reader.next {
        Token::End => Ok(query),
        _ => Err(reader.expected(
            "\"and\", \"or\", \"sort\", \"limit\", \"offset\", \"columns\", \"index\" or \"threads\"",
        )),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Clause {
    Sort,
    Columns,
    Limit,
    Offset,
    Index,
    Threads,
}

impl Clause {
    fn of(token: &Token<'_>) -> Option<Self> {
        let Token::Word(word) = token else { return None };
        Some(match *word {
            "sort" => Self::Sort,
            "columns" => Self::Columns,
            "limit" => Self::Limit,
            "offset" => Self::Offset,
            "index" => Self::Index,
            "threads" => Self::Threads,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Quoted(String),
    Open,
    Close,
    Comma,
    End,
}

struct Reader<'t> {
    schema: &'t Schema,
    text: &'t str,
    /// What lies behind `next`.
    rest: &'t str,
    next: Token<'t>,
    /// Where `next` begins, in bytes.
    next_at: usize,
}

impl<'t> Reader<'t> {
    fn any(&mut self, depth: usize) -> Result<Expr, QueryError> {
        let mut terms = vec![self.all(depth)?];
        while self.takes("or")? {
            terms.push(self.all(depth)?);
        }
        Ok(only(terms, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, QueryError> {
        let mut terms = vec![self.not(depth)?];
        while self.takes("and")? {
            terms.push(self.not(depth)?);
        }
        Ok(only(terms, Expr::All))
    }

    fn not(&mut self, depth: usize) -> Result<Expr, QueryError> {
        if depth > MAX_DEPTH {
            return Err(self.expected(&format!("no more than {MAX_DEPTH} conditions within conditions")));
        }
        if self.takes("not")? {
            return Ok(self.not(depth + 1)?.negate());
        }
        if self.next != Token::Open {
            return self.term();
        }
        self.advance()?;
        let inner = self.any(depth + 1)?;
        self.close()?;
        Ok(inner)
    }

    fn term(&mut self) -> Result<Expr, QueryError> {
        let column = self.word("a condition")?;
        let operator = match &self.next {
            Token::Word(word) => *word,
            _ => return Err(self.expected("an operator")),
        };
        let mut words = vec![operator.to_owned(), column];
        let operator = Operator::from_name(operator);
        self.advance()?;
        match operator.map(Operator::operand_count) {
            Some(None) => self.list(&mut words)?,
            Some(Some(count)) => {
                for _ in 0..count {
                    words.push(self.word("a value")?);
                }
            }
            // The same error as for a compare list.
            None => {}
        }
        compare::term(self.schema, &words)
    }

    fn list(&mut self, words: &mut Vec<String>) -> Result<(), QueryError> {
        if self.next != Token::Open {
            return Err(self.expected("\"(\""));
        }
        self.advance()?;
        if self.next != Token::Close {
            words.push(self.word("a value")?);
            while self.next == Token::Comma {
                self.advance()?;
                words.push(self.word("a value")?);
            }
        }
        self.close()
    }

    fn close(&mut self) -> Result<(), QueryError> {
        if self.next != Token::Close {
            return Err(self.expected("\")\""));
        }
        self.advance()
    }

    fn clause(&mut self, clause: Clause, mut query: Query) -> Result<Query, QueryError> {
        match clause {
            Clause::Limit => Ok(query.limit(self.number()?)),
            Clause::Offset => Ok(query.offset(self.number()?)),
            Clause::Index => Ok(query.by_index(self.word("a column")?)),
            Clause::Threads => Ok(query.threads(u32::try_from(self.number()?).unwrap_or(u32::MAX))),
            Clause::Columns => Ok(query.columns(self.names()?)),
            Clause::Sort => {
                for name in self.names()? {
                    query = query.sort_by(SortKey::parse(&name));
                }
                Ok(query)
            }
        }
    }

    fn names(&mut self) -> Result<Vec<String>, QueryError> {
        let mut names = vec![self.word("a column")?];
        while self.next == Token::Comma {
            self.advance()?;
            names.push(self.word("a column")?);
        }
        Ok(names)
    }

    fn number(&mut self) -> Result<u64, QueryError> {
        const EXPECTED: &str = "an integer that is not negative";
        let number = match &self.next {
            Token::Word(word) => word.parse().map_err(|_| self.expected(EXPECTED))?,
            _ => return Err(self.expected(EXPECTED)),
        };
        self.advance()?;
        Ok(number)
    }

    fn word(&mut self, expected: &str) -> Result<String, QueryError> {
        let word = match &mut self.next {
            Token::Word(word) => (*word).to_owned(),
            Token::Quoted(word) => std::mem::take(word),
            _ => return Err(self.expected(expected)),
        };
        self.advance()?;
        Ok(word)
    }

    fn takes(&mut self, keyword: &str) -> Result<bool, QueryError> {
        let is_next = self.next == Token::Word(keyword);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    /// Reads the next token.
    fn advance(&mut self) -> Result<(), QueryError> {
        const SYMBOLS: [char; 4] = ['=', '!', '<', '>'];
        let text = self.rest.trim_start();
        self.next_at = self.text.len() - text.len();
        let ends_word =
            |c: char| c.is_whitespace() || SYMBOLS.contains(&c) || ['(', ')', ',', '\'', '"'].contains(&c);
        let Some(first) = text.chars().next() else {
            (self.next, self.rest) = (Token::End, text);
            return Ok(());
        };
        let length = match first {
            '(' | ')' | ',' => 1,
            '\'' | '"' => return self.quoted(text, first),
            _ if SYMBOLS.contains(&first) => text.find(|c| !SYMBOLS.contains(&c)).unwrap_or(text.len()),
            _ => text.find(ends_word).unwrap_or(text.len()),
        };
        let (word, rest) = text.split_at(length);
        self.rest = rest;
        self.next = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            _ => Token::Word(word),
        };
        Ok(())
    }

    fn quoted(&mut self, text: &'t str, quote: char) -> Result<(), QueryError> {
        let mut word = String::new();
        let mut characters = text[1..].chars();
        loop {
            match characters.next() {
                Some(c) if c == quote && characters.as_str().starts_with(quote) => {
                    characters.next();
                    word.push(quote);
                }
                Some(c) if c == quote => break,
                Some(c) => word.push(c),
                None => {
                    let expected = format!("a closing {quote} after character {}", self.place());
                    return Err(self.error(expected));
                }
            }
        }
        (self.next, self.rest) = (Token::Quoted(word), characters.as_str());
        Ok(())
    }

    /// The number of the character at which `next` begins, from 1.
    fn place(&self) -> usize {
        self.text[..self.next_at].chars().count() + 1
    }

    #[cold]
    fn expected(&self, what: &str) -> QueryError {
        let found = self.text[self.next_at..self.text.len() - self.rest.len()].trim_end();
        let expected = match self.next {
            Token::End => format!("{what} at the end"),
            _ => format!("{what} but got \"{found}\" at character {}", self.place()),
        };
        self.error(expected)
    }

    /// Quotes the text, of a long one what leads to the place.
    fn error(&self, expected: String) -> QueryError {
        const QUOTED: usize = 200;
        let end = self.text.len() - self.rest.len();
        let quoted: String = match self.text.char_indices().rev().find(|(at, _)| at + QUOTED < end) {
            Some((at, _)) => format!("...{}", &self.text[at..end]),
            None if self.text.chars().nth(QUOTED).is_none() => self.text.to_owned(),
            None => self.text.chars().take(QUOTED).chain("...".chars()).collect(),
        };
        QueryError::Text { text: quoted, expected }
    }
}

/// One condition for several.
fn only(mut terms: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    if terms.len() == 1 { terms.remove(0) } else { many(terms) }
}

#[cfg(test)]
mod tests;
