//! Great circles, with trigonometry that gives the same bits everywhere.
//!
//! Only `+ - * /` and `sqrt` are used, which IEEE 754 rounds exactly; a C library's `sin` is free to differ. Series are
//! Taylor's after range reduction, good to 1e-11, which is a tenth of a millimetre on the ground.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// Nautical miles per radian of arc: the mean radius of the earth.
pub const EARTH_RADIUS_NM: f64 = 3440.065;

/// Sine and cosine of an angle within two turns.
pub fn sin_cos(angle: f64) -> (f64, f64) {
    let quarters = (angle / FRAC_PI_2).round();
    let rest = angle - quarters * FRAC_PI_2;
    let square = rest * rest;
    let mut sine = 0.0;
    let mut cosine = 0.0;
    // Horner over k = 8 .. 1: 1 - x^2/((2k)(2k+1)) (...) and 1 - x^2/((2k-1)(2k)) (...).
    for &(sine_divisor, cosine_divisor) in &[
        (272.0, 240.0),
        (210.0, 182.0),
        (156.0, 132.0),
        (110.0, 90.0),
        (72.0, 56.0),
        (42.0, 30.0),
        (20.0, 12.0),
        (6.0, 2.0),
    ] {
        sine = -square / sine_divisor * (1.0 + sine);
        cosine = -square / cosine_divisor * (1.0 + cosine);
    }
    let (sine, cosine) = (rest * (1.0 + sine), 1.0 + cosine);
    // `quarters` is a small whole number; its remainder by 4 picks the quadrant.
    match quarters.rem_euclid(4.0) {
        q if q < 0.5 => (sine, cosine),
        q if q < 1.5 => (cosine, -sine),
        q if q < 2.5 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

/// The angle of the point (`x`, `y`), in (-pi, pi]; 0 for the origin.
pub fn atan2(y: f64, x: f64) -> f64 {
    let (steep, shallow) = if y.abs() > x.abs() { (y, x) } else { (x, y) };
    if steep == 0.0 {
        return 0.0;
    }
    let ratio = (shallow / steep).abs();
    let angle = atan_up_to_one(ratio);
    let from_x_axis = if y.abs() > x.abs() { FRAC_PI_2 - angle } else { angle };
    let in_upper_half = if x < 0.0 { PI - from_x_axis } else { from_x_axis };
    if y < 0.0 { -in_upper_half } else { in_upper_half }
}

/// Arc tangent for `0 <= x <= 1`.
fn atan_up_to_one(x: f64) -> f64 {
    const TAN_PI_8: f64 = 0.414_213_562_373_095_03;
    let (offset, t) = if x > TAN_PI_8 { (FRAC_PI_4, (x - 1.0) / (x + 1.0)) } else { (0.0, x) };
    let square = t * t;
    let mut sum = 0.0;
    for &reciprocal in &RECIPROCALS {
        sum = reciprocal - square * sum;
    }
    offset + t * sum
}

/// 1/25, 1/23 ... 1/3, 1.
const RECIPROCALS: [f64; 13] = [
    1.0 / 25.0,
    1.0 / 23.0,
    1.0 / 21.0,
    1.0 / 19.0,
    1.0 / 17.0,
    1.0 / 15.0,
    1.0 / 13.0,
    1.0 / 11.0,
    1.0 / 9.0,
    1.0 / 7.0,
    1.0 / 5.0,
    1.0 / 3.0,
    1.0,
];

/// A unit vector from the earth's centre.
type Vector = [f64; 3];

fn vector(lat_degrees: f64, lon_degrees: f64) -> Vector {
    let (sin_lat, cos_lat) = sin_cos(lat_degrees * (PI / 180.0));
    let (sin_lon, cos_lon) = sin_cos(lon_degrees * (PI / 180.0));
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The shortest way between two places.
#[derive(Clone, Debug)]
pub struct GreatCircle {
    from: Vector,
    /// At right angles to `from`, in the circle's plane, towards the destination.
    across: Vector,
    arc: f64,
}

impl GreatCircle {
    /// The circle between two places that are neither the same nor opposite; places are (latitude, longitude) in degrees.
    pub fn between(from: (f64, f64), to: (f64, f64)) -> Self {
        let (from, to) = (vector(from.0, from.1), vector(to.0, to.1));
        let cosine = dot(from, to);
        let towards = [0, 1, 2].map(|axis| to[axis] - cosine * from[axis]);
        let sine = dot(towards, towards).sqrt();
        Self { from, across: towards.map(|part| part / sine), arc: atan2(sine, cosine) }
    }

    /// Its length in nautical miles.
    pub fn length_nm(&self) -> f64 {
        self.arc * EARTH_RADIUS_NM
    }

    /// Latitude and longitude in degrees, `along_nm` nautical miles after the start.
    #[inline]
    pub fn at(&self, along_nm: f64) -> (f64, f64) {
        let (sine, cosine) = sin_cos(along_nm / EARTH_RADIUS_NM);
        let [x, y, z] = [0, 1, 2].map(|axis| cosine * self.from[axis] + sine * self.across[axis]);
        (atan2(z, (x * x + y * y).sqrt()) * (180.0 / PI), atan2(y, x) * (180.0 / PI))
    }
}

#[cfg(test)]
mod tests {
    use super::{GreatCircle, atan2, sin_cos};

    #[test]
    fn trigonometry_agrees_with_the_standard_library() {
        for step in -1000..=1000 {
            let angle = f64::from(step) * 0.006;
            let (sine, cosine) = sin_cos(angle);
            assert!((sine - angle.sin()).abs() < 1e-13 && (cosine - angle.cos()).abs() < 1e-13, "{angle}");
            let (y, x) = (angle.sin(), angle.cos());
            assert!((atan2(y, x) - y.atan2(x)).abs() < 1e-11, "{angle}");
        }
        assert!(atan2(0.0, 0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_known_distance_and_its_ends() {
        // New York JFK to London Heathrow: 2991 nautical miles on the sphere.
        let circle = GreatCircle::between((40.6398, -73.7789), (51.4706, -0.4619));
        assert!((circle.length_nm() - 2991.0).abs() < 3.0, "{}", circle.length_nm());
        let (lat, lon) = circle.at(circle.length_nm());
        assert!((lat - 51.4706).abs() < 1e-8 && (lon + 0.4619).abs() < 1e-8);
        let (lat, _) = circle.at(circle.length_nm() / 2.0);
        assert!(lat > 52.0, "the great circle runs north of both ends: {lat}");
    }

    #[test]
    fn the_date_line_is_crossed() {
        let circle = GreatCircle::between((35.0, 140.0), (37.0, -122.0));
        let (_, lon) = circle.at(circle.length_nm() / 2.0);
        assert!(lon.abs() > 165.0, "{lon}");
    }
}
