//! Enumerations whose variants are the words of a table: methods, options.
#![forbid(unsafe_code)]

/// Declares an enumeration and how Tcl words name its variants.
macro_rules! word_enum {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$doc])* $variant),* }

        impl $name {
            /// The variant that `word` names, in full or abbreviated.
            #[inline]
            pub(crate) fn find(
                interp: &$crate::ffi::Interp,
                word: &$crate::ffi::Obj,
            ) -> Result<Self, $crate::error::Error> {
                static WORDS: $crate::ffi::Words = $crate::ffi::Words::new(
                    $what,
                    &[$($crate::ffi::Word::new($word),)* $crate::ffi::Word::END],
                );
                const VARIANTS: &[$name] = &[$($name::$variant),*];
                match WORDS.find(interp, word) {
                    Ok(index) => Ok(VARIANTS[index]),
                    Err(message) => Err($crate::error::Error::syntax(message)),
                }
            }
        }
    };
}

pub(crate) use word_enum;
