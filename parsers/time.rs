//! Instants: milliseconds since 1970-01-01 UTC, and their texts.
//!
//! # Input
//! RFC 3339 texts, numbers.
//! # Maps to
//! `timestamp_t` and `datetime_t` (mapping rules T1 to T6).
//! # Known gaps
//! Years 1970 to 9999, as T6 says. A leap second (`:60`) is not a time.
//! # Reference
//! RFC 3339; days from civil dates after Howard Hinnant,
//! <https://howardhinnant.github.io/date_algorithms.html>.

/// One past the last millisecond of the year 9999.
pub const END: i64 = 253_402_300_800_000;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// Numbers below this are seconds, from it on milliseconds (T4).
const SECONDS_BELOW: f64 = 1e11;

/// Milliseconds of a text form (T3), cut, not rounded. None outside the valid range.
pub fn from_text(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| bytes[at] != byte) {
        return None;
    }
    let day = day_from_civil(digits(bytes, 0..4)?, digits(bytes, 5..7)?, digits(bytes, 8..10)?)?;
    let (hour, minute, second) =
        (digits(bytes, 11..13)?, digits(bytes, 14..16)?, digits(bytes, 17..19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_ms, rest) = fraction(&bytes[19..])?;
    let offset_minutes = offset(rest)?;
    let seconds = (hour * 60 + minute - offset_minutes) * 60 + second;
    in_range(day * DAY_MS + seconds * 1000 + fraction_ms)
}

/// Milliseconds of a number as it is spelled in JSON or text (T4).
pub fn from_number(text: &str) -> Option<i64> {
    if let Ok(whole) = text.parse::<i64>() {
        let ms = if (whole as f64) < SECONDS_BELOW { whole.checked_mul(1000)? } else { whole };
        return in_range(ms);
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let ms = if number < SECONDS_BELOW { exact_ms(text, number) } else { number };
    in_range(ms as i64)
}

/// Seconds with a decimal fraction in milliseconds: `1.001` must not become 1000.
fn exact_ms(text: &str, seconds: f64) -> f64 {
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => {
            let whole: f64 = whole.parse().unwrap_or(seconds.trunc());
            let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
            whole * 1000.0 + digits.parse::<f64>().unwrap_or_default()
        }
        _ => (seconds * 1000.0).trunc(),
    }
}

/// `ms` if it lies in the valid range (T6).
pub fn in_range(ms: i64) -> Option<i64> {
    (0..END).contains(&ms).then_some(ms)
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ` (T1), 24 bytes of ASCII.
pub fn datetime(ms: i64) -> [u8; 24] {
    let (year, month, day) = civil_from_day(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    put(&mut out[0..4], year);
    put(&mut out[5..7], month);
    put(&mut out[8..10], day);
    put(&mut out[11..13], of_day / 3_600_000);
    put(&mut out[14..16], of_day / 60_000 % 60);
    put(&mut out[17..19], of_day / 1000 % 60);
    put(&mut out[20..23], of_day % 1000);
    out
}

/// `YYYYMMDD` of a day since 1970.
pub fn compact_day(day: i32) -> String {
    let (year, month, day) = civil_from_day(i64::from(day));
    format!("{year:04}{month:02}{day:02}")
}

/// The day since 1970 of a civil date, if there is such a date from 1970 on.
pub fn day_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) || !(1..=9999).contains(&year) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn civil_from_day(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Up to 9 decimals behind a point, as whole milliseconds, and what follows them.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', rest @ ..] = bytes else {
        return Some((0, bytes));
    };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let digit = |at: usize| {
        if at < count { i64::from(rest[at] - b'0') } else { 0 }
    };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &rest[count..]))
}

/// Minutes east of UTC of `Z`, `+hh:mm`, `-hh:mm` or nothing.
fn offset(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (digits(rest, 0..2)?, digits(rest, 3..5)?);
            let minutes = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            Some(if *sign == b'+' { minutes } else { -minutes })
        }
        _ => None,
    }
}

fn digits(bytes: &[u8], range: std::ops::Range<usize>) -> Option<i64> {
    bytes[range].iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
    })
}

fn put(out: &mut [u8], mut value: i64) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_rfc_3339_are_cut_to_milliseconds() {
        let cases = [
            ("2023-09-21T22:22:52Z", Some(1_695_334_972_000)),
            ("2023-09-21 22:22:52", Some(1_695_334_972_000)),
            ("2023-09-21T22:22:52.1239Z", Some(1_695_334_972_123)),
            ("2023-09-21T18:22:52.000-04:00", Some(1_695_334_972_000)),
            ("2023-09-21T22:22:52.Z", None),
            ("2023-09-21T22:22:52+0400", None),
            ("2023-02-29T00:00:00Z", None),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("1969-12-31T23:59:59Z", None),
            ("2023-09-21", None),
            ("Mar 17, 2023 5:07:59 PM", None),
        ];
        for (text, expected) in cases {
            assert_eq!(from_text(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_seconds_below_ten_to_the_eleventh_else_milliseconds() {
        let cases = [
            ("1714521600", Some(1_714_521_600_000)),
            ("1714521600000", Some(1_714_521_600_000)),
            ("1.7145216E9", Some(1_714_521_600_000)),
            ("1714521600.0019", Some(1_714_521_600_001)),
            ("1714521600.999", Some(1_714_521_600_999)),
            ("0", Some(0)),
            ("-1", None),
            ("1e300", None),
            ("NaN", None),
            ("x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(from_number(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn datetimes_agree_with_jiff_and_read_back(ms in 0..END) {
            let ours = datetime(ms);
            let ours = std::str::from_utf8(&ours).unwrap();
            let theirs = jiff::Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(ours.parse::<jiff::Timestamp>().unwrap(), theirs);
            prop_assert_eq!(from_text(ours), Some(ms));
        }
    }
}
