//! Airports: ICAO code, latitude and longitude in degrees, as aeronautical publications give them.

/// A place where flights begin and end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Airport {
    /// ICAO location indicator.
    pub(crate) code: &'static str,
    /// Degrees, north positive.
    pub(crate) lat: f64,
    /// Degrees, east positive.
    pub(crate) lon: f64,
}

const fn at(code: &'static str, lat: f64, lon: f64) -> Airport {
    Airport { code, lat, lon }
}

/// Busy airports of every inhabited continent.
pub(crate) const AIRPORTS: [Airport; 70] = [
    at("EGLL", 51.4706, -0.4619),
    at("LFPG", 49.0097, 2.5479),
    at("EDDF", 50.0333, 8.5706),
    at("EHAM", 52.3086, 4.7639),
    at("LSZH", 47.4647, 8.5492),
    at("LSGG", 46.2381, 6.1089),
    at("LEMD", 40.4719, -3.5626),
    at("LEBL", 41.2971, 2.0785),
    at("LIRF", 41.8003, 12.2389),
    at("LIMC", 45.6306, 8.7281),
    at("EDDM", 48.3538, 11.7861),
    at("LOWW", 48.1103, 16.5697),
    at("EKCH", 55.6179, 12.656),
    at("ESSA", 59.6519, 17.9186),
    at("ENGM", 60.1939, 11.1004),
    at("EFHK", 60.3172, 24.9633),
    at("EPWA", 52.1657, 20.9671),
    at("LKPR", 50.1008, 14.26),
    at("LHBP", 47.4298, 19.2611),
    at("LGAV", 37.9364, 23.9445),
    at("LTFM", 41.2753, 28.7519),
    at("EIDW", 53.4213, -6.2701),
    at("LPPT", 38.7813, -9.1359),
    at("EBBR", 50.9014, 4.4844),
    at("LLBG", 32.0114, 34.8867),
    at("OMDB", 25.2528, 55.3644),
    at("OTHH", 25.2731, 51.6081),
    at("OEJN", 21.6796, 39.1565),
    at("HECA", 30.1219, 31.4056),
    at("HAAB", 8.9779, 38.7993),
    at("HKJK", -1.3192, 36.9278),
    at("FAOR", -26.1392, 28.246),
    at("FACT", -33.9648, 18.6017),
    at("DNMM", 6.5774, 3.3212),
    at("GMMN", 33.3675, -7.59),
    at("VIDP", 28.5665, 77.1031),
    at("VABB", 19.0887, 72.8679),
    at("VTBS", 13.6811, 100.747),
    at("WSSS", 1.3502, 103.9944),
    at("WMKK", 2.7456, 101.7099),
    at("WIII", -6.1256, 106.6559),
    at("RPLL", 14.5086, 121.0194),
    at("VHHH", 22.3089, 113.9146),
    at("ZBAA", 40.0801, 116.5846),
    at("ZSPD", 31.1434, 121.8052),
    at("ZGGG", 23.3924, 113.2988),
    at("RKSI", 37.4691, 126.4505),
    at("RJTT", 35.5523, 139.7798),
    at("YSSY", -33.9461, 151.1772),
    at("YMML", -37.6733, 144.8433),
    at("NZAA", -37.0081, 174.7917),
    at("KJFK", 40.6398, -73.7789),
    at("KBOS", 42.3643, -71.0052),
    at("KORD", 41.9786, -87.9048),
    at("KATL", 33.6367, -84.4281),
    at("KDFW", 32.8968, -97.038),
    at("KDEN", 39.8617, -104.6731),
    at("KLAX", 33.9425, -118.4081),
    at("KSFO", 37.619, -122.3749),
    at("KSEA", 47.449, -122.3093),
    at("KMIA", 25.7932, -80.2906),
    at("CYYZ", 43.6772, -79.6306),
    at("CYVR", 49.1939, -123.1844),
    at("MMMX", 19.4363, -99.0721),
    at("SBGR", -23.4356, -46.4731),
    at("SAEZ", -34.8222, -58.5358),
    at("SCEL", -33.393, -70.7858),
    at("SKBO", 4.7016, -74.1469),
    at("PHNL", 21.3187, -157.9225),
    at("PANC", 61.1744, -149.9964),
];

#[cfg(test)]
mod tests {
    use super::AIRPORTS;
    use std::collections::HashSet;

    #[test]
    fn codes_differ_and_places_lie_on_the_globe() {
        let codes: HashSet<_> = AIRPORTS.iter().map(|airport| airport.code).collect();
        assert_eq!(codes.len(), AIRPORTS.len());
        for airport in AIRPORTS {
            assert!(airport.lat.abs() < 90.0 && airport.lon.abs() < 180.0, "{airport:?}");
        }
    }
}
