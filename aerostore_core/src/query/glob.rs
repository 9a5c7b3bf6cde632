//! Glob patterns, as Tcl's `string match` reads them.
//!
//! Rules       `*` any run of characters; `?` any one; `[a-z]` one of a set, where a range may be written either way
//!             round, `]` ends the set at once (so `[]` matches nothing), and neither `^` nor `\` is special; `\x` is x
//!             itself, and a pattern that ends in a lone `\` matches nothing. A set that is never closed ends with the
//!             pattern. Without case, pattern and text are compared by their simple lower-case forms.
//! Shape       the pattern becomes a list of steps, each but `*` taking exactly one character, so remembering the last
//!             `*` is enough backtracking: time is at most pattern times text, where recursion would be exponential.
//! Shortcuts   a pattern of plain text with or without a `*` at either end, the usual kind, is a comparison of slices.

#![forbid(unsafe_code)]

use std::fmt;

/// A compiled pattern.
#[derive(Clone, PartialEq)]
pub struct Glob {
    source: Box<str>,
    fold_case: bool,
    steps: Steps,
}

#[derive(Clone, PartialEq)]
enum Steps {
    /// Exactly this text.
    Exact(Box<str>),
    /// Text with these characters at its start.
    Prefix(Box<str>),
    /// Text with these characters at its end.
    Suffix(Box<str>),
    /// Text with these characters anywhere.
    Contains(Box<str>),
    /// Anything else.
    Walk(Box<[Step]>),
    /// No text at all.
    Never,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Run,
    One,
    Char(char),
    Set(Box<[(char, char)]>),
}

impl Glob {
    /// Compiles `pattern`; with `fold_case`, upper and lower case are the same.
    pub fn new(pattern: &str, fold_case: bool) -> Self {
        let steps = match parse(pattern, fold_case) {
            None => Steps::Never,
            Some(steps) if fold_case => Steps::Walk(steps.into()),
            Some(steps) => shorten(steps),
        };
        Self { source: pattern.into(), fold_case, steps }
    }

    /// Whether `text` as a whole fits the pattern.
    pub fn matches(&self, text: &str) -> bool {
        match &self.steps {
            Steps::Exact(part) => text == &**part,
            Steps::Prefix(part) => text.starts_with(&**part),
            Steps::Suffix(part) => text.ends_with(&**part),
            Steps::Contains(part) => memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some(),
            Steps::Walk(steps) if self.fold_case => walk(steps, text, fold),
            Steps::Walk(steps) => walk(steps, text, |character| character),
            Steps::Never => false,
        }
    }

    /// How the texts begin that fit the pattern.
    pub(super) fn starts(&self) -> Starts {
        let plain = |text: &str, whole| Starts { texts: vec![text.to_owned()], whole, exact: true };
        match &self.steps {
            Steps::Exact(text) => plain(text, true),
            Steps::Prefix(text) => plain(text, false),
            Steps::Never => Starts { texts: Vec::new(), whole: true, exact: true },
            Steps::Suffix(_) | Steps::Contains(_) => Starts { exact: false, ..plain("", false) },
            Steps::Walk(steps) => starts_of_walk(steps, self.fold_case),
        }
    }

    /// The pattern as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether upper and lower case are the same.
    pub fn folds_case(&self) -> bool {
        self.fold_case
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?}{})", self.source, if self.fold_case { ", any case" } else { "" })
    }
}

/// How texts begin that fit a pattern.
#[derive(Debug, PartialEq)]
pub(super) struct Starts {
    /// Each text begins with one of these.
    pub(super) texts: Vec<String>,
    /// Each text is one of these.
    pub(super) whole: bool,
    /// Every text of which this is true fits.
    pub(super) exact: bool,
}

/// The most ways to write a beginning in capitals and small letters that are told one by one.
const SPELLINGS: usize = 32;

fn starts_of_walk(steps: &[Step], fold_case: bool) -> Starts {
    let mut texts = vec![String::new()];
    let mut taken = 0;
    for step in steps {
        let Step::Char(character) = step else { break };
        let spellings = if fold_case { spellings(*character) } else { Some(vec![*character]) };
        let Some(spellings) = spellings.filter(|spellings| texts.len() * spellings.len() <= SPELLINGS) else {
            break;
        };
        let longer = texts.iter().flat_map(|text| spellings.iter().map(move |last| format!("{text}{last}")));
        texts = longer.collect();
        taken += 1;
    }
    let rest = &steps[taken..];
    Starts { texts, whole: rest.is_empty(), exact: rest.is_empty() || *rest == [Step::Run] }
}

/// The characters whose lower-case form is `folded`, where they are known: for ASCII.
fn spellings(folded: char) -> Option<Vec<char>> {
    let mut spellings = vec![folded];
    match folded {
        'k' => spellings.extend(['K', '\u{212a}']),
        'i' => spellings.extend(['I', '\u{130}']),
        'a'..='z' => spellings.push(folded.to_ascii_uppercase()),
        _ if folded.is_ascii() => {}
        _ => return None,
    }
    Some(spellings)
}

/// The simple lower-case form: one character for one, also where the full form has more.
#[inline]
fn fold(character: char) -> char {
    if character.is_ascii() {
        character.to_ascii_lowercase()
    } else {
        character.to_lowercase().next().unwrap_or(character)
    }
}

/// The steps of a pattern, or `None` when it can match nothing.
fn parse(pattern: &str, fold_case: bool) -> Option<Vec<Step>> {
    let folded = |character| if fold_case { fold(character) } else { character };
    let mut steps = Vec::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        steps.push(match character {
            '*' if steps.last() == Some(&Step::Run) => continue,
            '*' => Step::Run,
            '?' => Step::One,
            '\\' => Step::Char(folded(rest.next()?)),
            '[' => Step::Set(parse_set(&mut rest, folded)),
            plain => Step::Char(folded(plain)),
        });
    }
    Some(steps)
}

/// The ranges of a set, whose opening bracket is consumed already.
fn parse_set(rest: &mut std::str::Chars<'_>, folded: impl Fn(char) -> char) -> Box<[(char, char)]> {
    let mut ranges = Vec::new();
    while let Some(first) = rest.next().filter(|&character| character != ']') {
        let first = folded(first);
        if !rest.as_str().starts_with('-') {
            ranges.push((first, first));
            continue;
        }
        rest.next();
        if let Some(last) = rest.next().map(&folded) {
            ranges.push((first.min(last), first.max(last)));
        }
    }
    ranges.into()
}

/// Turns steps of plain text with runs only at the ends into a comparison of slices.
fn shorten(steps: Vec<Step>) -> Steps {
    let mut middle = &steps[..];
    let open_start = middle.first() == Some(&Step::Run);
    if open_start {
        middle = &middle[1..];
    }
    let open_end = middle.last() == Some(&Step::Run);
    if open_end {
        middle = &middle[..middle.len() - 1];
    }
    let plain = |step: &Step| if let Step::Char(character) = step { Some(*character) } else { None };
    let Some(text) = middle.iter().map(plain).collect::<Option<String>>() else {
        return Steps::Walk(steps.into());
    };
    match (open_start, open_end) {
        (false, false) => Steps::Exact(text.into()),
        (false, true) => Steps::Prefix(text.into()),
        (true, false) => Steps::Suffix(text.into()),
        (true, true) => Steps::Contains(text.into()),
    }
}

fn walk(steps: &[Step], text: &str, folded: impl Fn(char) -> char) -> bool {
    let mut at = 0;
    let mut rest = text.chars();
    // After a failure: the step after the last run, and the text that run has not swallowed yet.
    let mut resume: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        if steps.get(at) == Some(&Step::Run) {
            at += 1;
            if at == steps.len() {
                return true;
            }
            resume = Some((at, rest.clone()));
            continue;
        }
        let character = rest.next();
        let fits = match (steps.get(at), character) {
            (None, None) => return true,
            (Some(_), None) => return false,
            (None, Some(_)) => false,
            (Some(step), Some(character)) => step.takes(folded(character)),
        };
        if fits {
            at += 1;
            continue;
        }
        let Some((step, mut later)) = resume.take() else { return false };
        if later.next().is_none() {
            return false;
        }
        at = step;
        rest = later.clone();
        resume = Some((step, later));
    }
}

impl Step {
    #[inline]
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Run => false,
            Self::One => true,
            Self::Char(wanted) => *wanted == character,
            Self::Set(ranges) => ranges.iter().any(|&(first, last)| (first..=last).contains(&character)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn case(pattern: &str, text: &str) -> bool {
        Glob::new(pattern, false).matches(text)
    }

    fn no_case(pattern: &str, text: &str) -> bool {
        Glob::new(pattern, true).matches(text)
    }

    #[test]
    fn runs_and_single_characters() {
        assert!(case("", "") && !case("", "a") && case("*", "") && case("***", "abc"));
        assert!(
            case("UAL*", "UAL123")
                && !case("UAL*", "DAL1")
                && case("*23", "UAL123")
                && case("*L1*", "UAL123")
        );
        assert!(
            case("?AL", "UAL") && !case("?AL", "AL") && case("a*b*c", "aXbYbZc") && !case("a*b*c", "aXbY")
        );
        assert!(case("*ab", "aab") && case("a*?", "ab") && !case("a*?", "a") && case("é?", "éü"));
    }

    #[test]
    fn sets() {
        assert!(case("[a-c]x", "bx") && case("[c-a]x", "bx") && !case("[a-c]x", "dx") && case("[ab]", "b"));
        assert!(!case("[]", "a") && !case("[]", "]") && !case("[]a]", "a") && case("[^a]", "^"));
        assert!(
            case("[\\]", "\\")
                && case("[ab", "a")
                && !case("[ab", "ab")
                && !case("[a-", "a")
                && case("[xa-", "x")
        );
        assert!(case("[a-]", "^") && case("*[0-9]", "UAL12"));
    }

    #[test]
    fn backslash() {
        assert!(
            case(r"\*", "*")
                && !case(r"\*", "a")
                && case(r"a\?", "a?")
                && case(r"\\", r"\")
                && case(r"\a", "a")
        );
        assert!(!case(r"\", "") && !case(r"\", r"\") && !case(r"a*\", r"ab\"));
    }

    #[test]
    fn case_is_folded_on_both_sides() {
        assert!(
            no_case("ual*", "UAL1")
                && no_case("UAL*", "ual1")
                && no_case("[A-C]", "b")
                && no_case("ÄÖ", "äö")
        );
        assert!(!case("ual*", "UAL1") && no_case("*É", "café"));
    }

    #[test]
    fn every_character_is_among_the_spellings_of_its_form() {
        for character in '\0'..=char::MAX {
            if let Some(spellings) = spellings(fold(character)) {
                assert!(spellings.contains(&character), "{character:?}");
            }
        }
    }

    #[test]
    fn beginnings() {
        let starts = |pattern: &str, fold_case| {
            let starts = Glob::new(pattern, fold_case).starts();
            (starts.texts.join(" "), starts.whole, starts.exact)
        };
        assert_eq!(starts("UAL*", false), ("UAL".to_owned(), false, true));
        assert_eq!(starts("UAL", false), ("UAL".to_owned(), true, true));
        assert_eq!(starts("U?L*", false), ("U".to_owned(), false, false));
        assert_eq!(starts("*L", false), (String::new(), false, false));
        assert_eq!(starts("a1*", true), ("a1 A1".to_owned(), false, true));
        assert_eq!(starts("a1", true), ("a1 A1".to_owned(), true, true));
        assert_eq!(starts("aü*", true), ("a A".to_owned(), false, false));
        assert_eq!(Glob::new("abcdefgh*", true).starts().texts.len(), SPELLINGS);
        assert!(Glob::new("a\\", true).starts().texts.is_empty());
    }

    #[test]
    fn many_runs_take_no_exponential_time() {
        assert!(!case(&"a*".repeat(30).replace("a*", "*a"), &"a".repeat(29)));
        assert!(!case(&format!("{}b", "a*".repeat(50)), &"a".repeat(5000)));
    }

    /// The definition, by recursion.
    fn naive(steps: &[Step], text: &[char]) -> bool {
        match steps.split_first() {
            None => text.is_empty(),
            Some((Step::Run, rest)) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            Some((step, rest)) => {
                text.split_first().is_some_and(|(first, text)| step.takes(*first) && naive(rest, text))
            }
        }
    }

    proptest! {
        #[test]
        fn walking_agrees_with_recursion(pattern in r"[ab*?\[\]\\-]{0,9}", text in "[ab\\]]{0,9}") {
            let characters: Vec<char> = text.chars().collect();
            let expected = parse(&pattern, false).is_some_and(|steps| naive(&steps, &characters));
            prop_assert_eq!(case(&pattern, &text), expected);
            prop_assert_eq!(no_case(&pattern, &text), expected);
        }
    }
}
