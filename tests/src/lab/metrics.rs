//! The metrics of a program, read from the OpenMetrics text format as far as mesh-node writes it.

use std::collections::BTreeMap;

use crate::error::Error;

#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples = lines
            .map(|line| sample(line).ok_or_else(|| Error::unreadable("a line of metrics", line)))
            .collect::<Result<_, _>>()?;
        Ok(Self { samples })
    }

    /// The sum over all samples of this name that bear these labels; 0 where there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let bears = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(bears).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while let Some((key, after)) = rest.split_once("=\"") {
        // Values are names of the mesh's, which hold no quotation mark.
        let (value, after) = after.split_once('"')?;
        labels.insert(key.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_labels_that_are_not_asked_for() {
        let text = "# HELP weir_x X\nweir_x_total{a=\"1, 2\",b=\"x\"} 2\nweir_x_total{a=\"1, 2\",b=\"y\"} 3\nweir_y 1\n# EOF\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("weir_x_total", &[("a", "1, 2")]), 5.0);
        assert_eq!(metrics.sum("weir_x_total", &[("b", "y")]), 3.0);
        assert_eq!(metrics.sum("weir_y", &[]), 1.0);
        assert_eq!(metrics.sum("weir_z", &[]), 0.0);
    }
}
