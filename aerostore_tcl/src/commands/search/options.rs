//! The words after `search`.
#![forbid(unsafe_code)]

use std::rc::Rc;

use aerostore_core::query::{Query, SortKey};

use super::change::Change;
use super::deliver::{Listing, Poll, Targets};
use super::kept::Asked;
use super::terms;
use crate::commands::table::Opened;
use crate::commands::tabsep::{SheetOption, SheetOptions};
use crate::error::Error;
use crate::ffi::{Integer, Interp, Obj};
use crate::words::word_enum;

/// What the value of an option is for a search that is [kept](super::kept).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It says what the search is.
    Fixed,
    /// It has the terms.
    Terms,
    /// It is a pattern for keys.
    Pattern,
    /// It is a matter of each call.
    Given,
    /// The search is not kept.
    Other,
}

word_enum! {
    /// An option of `search`.
    SearchOption, c"option", {
        Any = c"-any",
        Array = c"-array",
        ArrayGet = c"-array_get",
        ArrayGetWithNulls = c"-array_get_with_nulls",
        ArrayWithNulls = c"-array_with_nulls",
        Buffer = c"-buffer",
        Code = c"-code",
        Columns = c"-columns",
        Compare = c"-compare",
        CountOnly = c"-countOnly",
        Delete = c"-delete",
        Dict = c"-dict",
        Dicts = c"-dicts",
        Fields = c"-fields",
        Get = c"-get",
        Glob = c"-glob",
        Header = c"-header",
        Index = c"-index",
        Key = c"-key",
        Limit = c"-limit",
        Lists = c"-lists",
        NoKeys = c"-nokeys",
        Null = c"-null",
        Offset = c"-offset",
        PollCode = c"-poll_code",
        PollInterval = c"-poll_interval",
        Quote = c"-quote",
        Run = c"-run",
        Sort = c"-sort",
        Tab = c"-tab",
        Update = c"-update",
        WriteTabsep = c"-write_tabsep",
    }
}

impl SearchOption {
    pub(super) fn role(self) -> Role {
        match self {
            Self::Compare | Self::Any => Role::Terms,
            Self::Glob => Role::Pattern,
            Self::Array
            | Self::ArrayGet
            | Self::ArrayGetWithNulls
            | Self::ArrayWithNulls
            | Self::Code
            | Self::Delete
            | Self::Get
            | Self::Key
            | Self::PollCode
            | Self::Update => Role::Given,
            Self::Buffer
            | Self::Columns
            | Self::CountOnly
            | Self::Dicts
            | Self::Fields
            | Self::Index
            | Self::Limit
            | Self::Lists
            | Self::Offset
            | Self::PollInterval
            | Self::Sort => Role::Fixed,
            Self::Dict
            | Self::Header
            | Self::NoKeys
            | Self::Null
            | Self::Quote
            | Self::Run
            | Self::Tab
            | Self::WriteTabsep => Role::Other,
        }
    }
}

/// What a search is to do.
pub(super) struct Search {
    /// What the trace of an error calls it.
    pub(super) method: &'static str,
    /// Which rows, in which order.
    pub(super) asked: Asked,
    /// Columns that rows are given with.
    pub(super) columns: Rc<[usize]>,
    /// Count, and look at no row.
    pub(super) count_only: bool,
    /// Give the rows back.
    pub(super) listing: Option<Listing>,
    /// Variables to set and script to run for each row.
    pub(super) targets: Targets,
    /// What becomes of the rows.
    pub(super) change: Option<Change>,
    /// What is run between rows.
    pub(super) poll: Poll,
    /// The channel that rows are written to.
    pub(super) channel: Option<Obj>,
    /// How they are written.
    pub(super) sheet: SheetOptions,
    /// An option about how they are written.
    sheet_option: Option<Obj>,
    /// Whether an explanation is to be a dict.
    pub(super) dict: Option<bool>,
    /// Whether what is explained is to be run.
    pub(super) run: Option<bool>,
}

impl Search {
    /// A search for all rows, by `method`.
    pub(super) fn all(table: &Opened, method: &'static str) -> Self {
        Self {
            method,
            asked: Asked::Query(Query::all()),
            columns: table.bound.all_columns().into(),
            count_only: false,
            listing: None,
            targets: Targets::default(),
            change: None,
            poll: Poll::default(),
            channel: None,
            sheet: SheetOptions::default(),
            sheet_option: None,
            dict: None,
            run: None,
        }
    }

    /// Another one with the options that say what the search is, and all rows.
    pub(super) fn with_same_options(&self) -> Self {
        Self {
            method: self.method,
            asked: Asked::Query(Query::all()),
            columns: Rc::clone(&self.columns),
            count_only: self.count_only,
            listing: self.listing,
            targets: Targets::default(),
            change: None,
            poll: Poll { code: None, interval: self.poll.interval },
            channel: None,
            sheet: SheetOptions::default(),
            sheet_option: None,
            dict: None,
            run: None,
        }
    }

    /// Reads the words after `search`.
    pub(super) fn read(table: &Opened, interp: &Interp, words: &[Obj]) -> Result<Self, Error> {
        let mut search = Self::all(table, "search");
        let mut rest = words;
        while let [name, after @ ..] = rest {
            let option = SearchOption::find(interp, name)?;
            let [value, after @ ..] = after else {
                return Err(Error::syntax(format!("value for \"{}\" missing", name.quoted())));
            };
            rest = after;
            if option == SearchOption::Sort {
                let descending = direction(&mut rest);
                search.sort(table, interp, value, descending)?;
            } else {
                search.set(table, interp, option, value)?;
            }
        }
        if search.listing.is_some() && (search.count_only || search.gives_rows()) {
            return Err(Error::syntax("-lists and -dicts go with no other way to give rows"));
        }
        if let (None, Some(option)) = (&search.channel, &search.sheet_option) {
            return Err(Error::syntax(format!("{} goes with -write_tabsep", option.quoted())));
        }
        Ok(search)
    }

    /// Whether it says only which rows, in which order and with which columns.
    pub(super) fn only_selects(&self) -> bool {
        self.only_counts()
            && !self.count_only
            && self.change.is_none()
            && self.dict.is_none()
            && self.run.is_none()
    }

    /// Whether rows are counted and not looked at one by one.
    pub(super) fn only_counts(&self) -> bool {
        self.listing.is_none() && (self.count_only || !self.gives_rows())
    }

    /// Whether rows are given one by one.
    fn gives_rows(&self) -> bool {
        self.targets.are_any() || self.channel.is_some()
    }

    pub(super) fn set(
        &mut self,
        table: &Opened,
        interp: &Interp,
        option: SearchOption,
        value: &Obj,
    ) -> Result<(), Error> {
        let targets = &mut self.targets;
        let given = || Some(value.clone());
        match option {
            SearchOption::Compare => self.filter(terms::all(table, interp, value)?),
            SearchOption::Any => self.filter(terms::any(table, interp, value)?),
            SearchOption::Glob => self.filter(table.key_glob(value)?),
            SearchOption::Limit => {
                let rows = count("limit", value)?;
                self.ask(|query| query.limit(rows));
            }
            SearchOption::Offset => {
                let rows = count("offset", value)?;
                self.ask(|query| query.offset(rows));
            }
            SearchOption::Columns | SearchOption::Fields => {
                let names = value.items(interp).map_err(Error::syntax)?;
                self.columns = table.bound.columns(&names)?.into();
                self.sheet.set(interp, SheetOption::Columns, value)?;
            }
            SearchOption::Index => {
                let column = table.bound.column(value)?;
                let name = table.bound.schema.column(column).name();
                self.ask(|query| query.by_index(name));
            }
            SearchOption::Buffer => drop(flag("-buffer", value)?),
            SearchOption::Delete if flag("-delete", value)? => self.change(Change::Delete)?,
            // Sorting has words of its own.
            SearchOption::Delete | SearchOption::Sort => {}
            SearchOption::Update => self.change(Change::update(table, interp, value)?)?,
            SearchOption::PollCode => self.poll.code = given().filter(|code| !code.bytes().is_empty()),
            SearchOption::PollInterval => self.poll.interval = Some(count("poll interval", value)?),
            SearchOption::WriteTabsep => self.channel = given(),
            SearchOption::Header
            | SearchOption::NoKeys
            | SearchOption::Null
            | SearchOption::Quote
            | SearchOption::Tab => self.lay_out(interp, option, value)?,
            SearchOption::Dict => self.dict = Some(flag("-dict", value)?),
            SearchOption::Run => self.run = Some(flag("-run", value)?),
            SearchOption::CountOnly => self.count_only = flag("-countOnly", value)?,
            SearchOption::Lists => self.list("-lists", value, Listing::Lists)?,
            SearchOption::Dicts => self.list("-dicts", value, Listing::Dicts)?,
            SearchOption::Key => targets.key = given(),
            SearchOption::Get => targets.get = given(),
            SearchOption::Array => targets.arrays.push((value.clone(), false)),
            SearchOption::ArrayWithNulls => targets.arrays.push((value.clone(), true)),
            SearchOption::ArrayGet => targets.array_gets.push((value.clone(), false)),
            SearchOption::ArrayGetWithNulls => targets.array_gets.push((value.clone(), true)),
            SearchOption::Code => targets.code = given(),
        }
        Ok(())
    }

    /// An option of `write_tabsep`.
    fn lay_out(&mut self, interp: &Interp, option: SearchOption, value: &Obj) -> Result<(), Error> {
        let (option, name) = match option {
            SearchOption::Header => (SheetOption::Header, "-header"),
            SearchOption::NoKeys => (SheetOption::NoKeys, "-nokeys"),
            SearchOption::Null => (SheetOption::Null, "-null"),
            SearchOption::Quote => (SheetOption::Quote, "-quote"),
            _ => (SheetOption::Tab, "-tab"),
        };
        self.sheet_option = Some(Obj::string(name));
        self.sheet.set(interp, option, value)
    }

    fn change(&mut self, change: Change) -> Result<(), Error> {
        if self.change.replace(change).is_some() {
            return Err(Error::syntax("rows are deleted or updated, and once: give one -delete or -update"));
        }
        Ok(())
    }

    /// Asks for other rows. A search that is kept says by itself for which.
    fn ask(&mut self, other: impl FnOnce(Query) -> Query) {
        if let Asked::Query(query) = &mut self.asked {
            *query = other(std::mem::take(query));
        }
    }

    fn filter(&mut self, filter: aerostore_core::query::Expr) {
        self.ask(|query| query.and(filter));
    }

    fn list(&mut self, name: &str, value: &Obj, listing: Listing) -> Result<(), Error> {
        if flag(name, value)? {
            if self.listing.is_some_and(|other| other != listing) {
                return Err(Error::syntax("-lists and -dicts cannot both be given"));
            }
            self.listing = Some(listing);
        }
        Ok(())
    }

    /// `-sort {col -col ...}` or, with a direction after it, `-sort col -desc`.
    fn sort(
        &mut self,
        table: &Opened,
        interp: &Interp,
        value: &Obj,
        direction: Option<bool>,
    ) -> Result<(), Error> {
        for name in value.items(interp).map_err(Error::syntax)? {
            let text = name.bytes().strip_prefix(b"-").map(String::from_utf8_lossy);
            let (column, descending) = match text {
                Some(column) => (table.bound.column(&Obj::string(&column))?, true),
                None => (table.bound.column(&name)?, false),
            };
            let column = table.bound.schema.column(column).name();
            let descending = direction.map_or(descending, |turned| turned != descending);
            let key = if descending { SortKey::descending(column) } else { SortKey::ascending(column) };
            self.ask(|query| query.sort_by(key));
        }
        Ok(())
    }
}

/// Takes `-asc` or `-desc` from the front of the words.
fn direction(words: &mut &[Obj]) -> Option<bool> {
    let [first, rest @ ..] = *words else { return None };
    let descending = match first.bytes() {
        b"-desc" => true,
        b"-asc" => false,
        _ => return None,
    };
    *words = rest;
    Some(descending)
}

/// A count given with an option: of rows, of bytes.
pub(in crate::commands) fn count(what: &str, value: &Obj) -> Result<u64, Error> {
    let number = match value.integer() {
        Integer::Wide(number) => u64::try_from(number).ok(),
        _ => None,
    };
    number.ok_or_else(|| {
        Error::value(format!("bad {what} \"{}\": must be an integer that is not negative", value.quoted()))
    })
}

/// A truth value given with an option.
pub(in crate::commands) fn flag(name: &str, value: &Obj) -> Result<bool, Error> {
    value.as_boolean().ok_or_else(|| {
        Error::value(format!("expected boolean value for {name} but got \"{}\"", value.quoted()))
    })
}
