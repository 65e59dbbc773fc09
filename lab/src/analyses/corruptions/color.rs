//! Colours.

/// Luma of a pixel (ITU-R BT.601); a grey one's is its value.
pub(super) fn luma(values: &[f64]) -> f64 {
    match *values {
        [red, green, blue] => 0.299 * red + 0.587 * green + 0.114 * blue,
        _ => values[0],
    }
}

/// A colour in so many channels: three, or its luma alone.
pub(super) fn shown(color: [f64; 3], channels: usize) -> impl Iterator<Item = f64> {
    let grey = luma(&color);
    color.into_iter().map(move |value| if channels == 1 { grey } else { value }).take(channels)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Adds to the value in the sense of HSV, up to 1; hue and saturation stay.
pub(super) fn brighten(values: &mut [f64], more: f64) {
    let before = largest(values);
    let after = (before + more).clamp(0.0, 1.0);
    for value in values {
        // Black has no saturation and becomes grey.
        *value = if before > 0.0 { after - (before - *value) * (after / before) } else { after };
    }
}

/// Multiplies the saturation in the sense of HSV by a factor and adds to it, up to 1; hue and value stay. The hue of grey is red, and an image of one
/// channel has no saturation.
pub(super) fn saturate(values: &mut [f64], factor: f64, more: f64) {
    let [red, green, blue] = values else { return };
    let value = red.max(*green).max(*blue);
    let difference = value - red.min(*green).min(*blue);
    let saturation = if value > 0.0 { difference / value } else { 0.0 };
    let wanted = (saturation * factor + more).clamp(0.0, 1.0);
    if difference > 0.0 {
        for channel in [red, green, blue] {
            *channel = value - (value - *channel) * (wanted / saturation);
        }
    } else {
        [*green, *blue] = [value * (1.0 - wanted); 2];
    }
}
