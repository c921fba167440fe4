//! A contest: contenders under the same load, in turn, round after round. What counts is the ratio of two contenders within
//! a round, and of those ratios the median, because the machine's speed drifts.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::load::Load;
use crate::meter::{self, Cpu};
use crate::show;

/// The contender that the others are compared with.
pub(crate) const WEIR: &str = "weir";

/// How long is measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
}

/// Puts load on one contender for about so long.
pub(crate) type Drive<'a> = Box<dyn Fn(Duration) -> anyhow::Result<Load> + 'a>;

pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    /// Every process on the path but the load and the backend.
    pub(crate) processes: Vec<u32>,
    pub(crate) drive: Drive<'a>,
}

pub(crate) struct Contest<'a> {
    pub(crate) name: String,
    /// What one of the counted things is: `request`, `GB`, `handshake`.
    pub(crate) unit: &'static str,
    pub(crate) contenders: Vec<Contender<'a>>,
}

/// What came of a contest.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Standing {
    pub(crate) contest: String,
    pub(crate) unit: String,
    pub(crate) rows: Vec<Row>,
    /// CPU a unit of one contender over another's, `weir/envoy`: the median of the rounds.
    pub(crate) ratios: BTreeMap<String, f64>,
}

/// The medians of one contender.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) contender: String,
    pub(crate) per_second: f64,
    /// Microseconds of CPU time a unit, and the part of it that is the kernel's.
    pub(crate) cpu_us: f64,
    pub(crate) kernel_us: f64,
    /// CPU time over time: 1 is one processor, all busy.
    pub(crate) busy: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) resident_mb: f64,
    /// The least and the most CPU a unit of the rounds.
    pub(crate) spread: (f64, f64),
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    load: Load,
    cpu: Cpu,
    resident_mb: f64,
}

impl Pace {
    pub(crate) const SHORT: Self = Self { rounds: 3, seconds: 2.0 };

    pub(crate) fn new(rounds: usize, seconds: f64) -> anyhow::Result<Self> {
        anyhow::ensure!(rounds >= 1 && seconds >= 0.5, "a case needs one round and half a second at least");
        Ok(Self { rounds, seconds })
    }

    pub(crate) fn turn(self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

impl Contest<'_> {
    pub(crate) fn run(&self, pace: Pace) -> anyhow::Result<Standing> {
        show::progress(&format!("{}: {} rounds of {} s each", self.name, pace.rounds, pace.seconds));
        for contender in &self.contenders {
            // Connections are made, caches filled, and mistakes seen before anything counts.
            turn(contender, pace.turn().min(Duration::from_secs(1)))?;
        }
        let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); self.contenders.len()];
        for _ in 0..pace.rounds {
            for (contender, turns) in self.contenders.iter().zip(&mut turns) {
                turns.push(turn(contender, pace.turn())?);
            }
        }
        let rows: Vec<Row> = self
            .contenders
            .iter()
            .zip(&turns)
            .map(|(contender, turns)| row(&contender.name, turns))
            .collect();
        let standing = Standing {
            contest: self.name.clone(),
            unit: self.unit.to_owned(),
            rows,
            ratios: self.ratios(&turns),
        };
        show::line(&standing.table());
        Ok(standing)
    }

    fn ratios(&self, turns: &[Vec<Turn>]) -> BTreeMap<String, f64> {
        let mut ratios = BTreeMap::new();
        for (one, its) in self.contenders.iter().zip(turns) {
            for (other, others) in self.contenders.iter().zip(turns) {
                let ours = one.name.starts_with(WEIR);
                if !ours || one.name == other.name || other.processes.is_empty() || one.processes.is_empty() {
                    continue;
                }
                let of_rounds = its.iter().zip(others).map(|(a, b)| a.cpu_us() / b.cpu_us()).collect();
                ratios.insert(format!("{}/{}", one.name, other.name), median(of_rounds));
            }
        }
        ratios
    }
}

impl Standing {
    pub(crate) fn row(&self, contender: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.contender == contender)
    }

    pub(crate) fn table(&self) -> String {
        let unit = &self.unit;
        let mut rows = vec![vec![
            self.contest.clone(),
            format!("{unit}/s"),
            format!("CPU-µs/{unit}"),
            "kernel".to_owned(),
        ]];
        rows[0].extend(["min..max", "busy", "p50 ms", "p99 ms", "RSS MB", "weir/it"].map(str::to_owned));
        for row in &self.rows {
            let ms = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
            let ratio = self.ratios.get(&format!("{WEIR}/{}", row.contender));
            rows.push(vec![
                row.contender.clone(),
                round(row.per_second),
                round(row.cpu_us),
                round(row.kernel_us),
                format!("{}..{}", round(row.spread.0), round(row.spread.1)),
                format!("{:.2}", row.busy),
                ms(row.p50_ms),
                ms(row.p99_ms),
                format!("{:.1}", row.resident_mb),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}")),
            ]);
        }
        show::table(&rows)
    }
}

impl Turn {
    fn cpu_us(&self) -> f64 {
        self.cpu.total() * 1e6 / self.load.done
    }
}

fn turn(contender: &Contender<'_>, length: Duration) -> anyhow::Result<Turn> {
    let name = &contender.name;
    let before = meter::cpu(&contender.processes)?;
    let load = (contender.drive)(length).with_context(|| format!("the load on {name}"))?;
    let cpu = meter::cpu(&contender.processes)? - before;
    anyhow::ensure!(load.done > 0.0, "nothing was done by {name}");
    anyhow::ensure!(
        load.failed <= load.done / 1000.0,
        "{} of {} failed through {name}: what is measured would not be what is meant",
        load.failed,
        load.done
    );
    let memory = meter::memory(&contender.processes)?;
    Ok(Turn { load, cpu, resident_mb: memory.resident as f64 / 1024.0 })
}

fn row(contender: &str, turns: &[Turn]) -> Row {
    let of = |figure: &dyn Fn(&Turn) -> f64| median(turns.iter().map(figure).collect());
    let sometimes = |figure: &dyn Fn(&Turn) -> Option<f64>| {
        let known: Option<Vec<f64>> = turns.iter().map(figure).collect();
        known.map(median)
    };
    let all = turns.iter().map(Turn::cpu_us);
    Row {
        contender: contender.to_owned(),
        per_second: of(&|turn| turn.load.done / turn.load.seconds),
        cpu_us: of(&Turn::cpu_us),
        kernel_us: of(&|turn| turn.cpu.system * 1e6 / turn.load.done),
        busy: of(&|turn| turn.cpu.total() / turn.load.seconds),
        p50_ms: sometimes(&|turn| turn.load.p50_ms),
        p99_ms: sometimes(&|turn| turn.load.p99_ms),
        resident_mb: of(&|turn| turn.resident_mb),
        spread: (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max)),
    }
}

/// Of an even number the mean of the middle two; of none, not a number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Three digits that count.
pub(crate) fn round(figure: f64) -> String {
    match figure.abs() {
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 8.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let idle = |_| anyhow::bail!("not driven");
        let contender =
            |name: &str| Contender { name: name.to_owned(), processes: vec![1], drive: Box::new(idle) };
        let contest = Contest {
            name: "c".to_owned(),
            unit: "request",
            contenders: vec![contender(WEIR), contender("peer")],
        };
        let turn = |user| Turn {
            load: Load { done: 10.0, ..Load::default() },
            cpu: Cpu { user, system: 0.0 },
            resident_mb: 0.0,
        };
        // The machine slows down threefold, for both.
        let turns = [vec![turn(1.0), turn(2.0), turn(3.0)], vec![turn(2.0), turn(4.0), turn(6.0)]];
        let ratios = contest.ratios(&turns);
        assert_eq!(ratios.into_iter().collect::<Vec<_>>(), [("weir/peer".to_owned(), 0.5)]);
    }
}
