//! Types may be named in any way but `Option`, which decides what `new` takes.

#![deny(missing_docs, warnings)]

mod types {
    pub type Name = aerostore_core::row::FixedString<12>;
    pub type Degrees = f64;
}

pub mod rows {
    //! Rows.

    use aerostore_core::row::speedtable;

    use super::types;

    /// A place.
    #[speedtable]
    pub struct Place {
        #[column(key)]
        name: types::Name,
        /// Degrees north.
        lat: std::option::Option<types::Degrees>,
        pub(crate) lon: Option<types::Degrees>,
    }
}

fn main() {
    let mut place = rows::Place::new("Zurich".parse().unwrap());
    place.set_lat(Some(47.4));
    place.set_lon(None);
    assert_eq!((place.name(), place.lat(), place.lon()), ("Zurich", Some(47.4), None));
}
