//! Numbers as text, the way Postgres writes them, so that `psql` and the CSV agree to the letter.

/// A double precision value: shortest exact digits, with an exponent below 1e-4 and from 1e15.
pub fn double(value: f64) -> String {
    shortest(value, format!("{value:e}"), format!("{value}"), 15)
}

/// A real value: shortest exact digits, with an exponent below 1e-4 and from 1e6.
pub fn real(value: f32) -> String {
    shortest(f64::from(value), format!("{value:e}"), format!("{value}"), 6)
}

fn shortest(value: f64, scientific: String, plain: String, largest_exponent: i32) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let Some((digits, exponent)) =
        scientific.split_once('e').and_then(|(digits, e)| Some((digits, e.parse::<i32>().ok()?)))
    else {
        return plain;
    };
    if value == 0.0 || (-4..largest_exponent).contains(&exponent) {
        return plain;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_psql() {
        let doubles = [
            (0.0, "0"),
            (1.0, "1"),
            (0.786, "0.786"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-18, "1.5e-18"),
            (1e15, "1e+15"),
        ];
        for (value, text) in doubles {
            assert_eq!(double(value), text);
        }
        assert_eq!(
            (real(1.25e-7), real(0.1), real(1_234_567.0), real(f32::INFINITY)),
            ("1.25e-07".into(), "0.1".into(), "1.234567e+06".into(), "Infinity".into())
        );
    }
}
