//! The arithmetic of EN 16931: line nets, VAT groups, totals; every rounding is half away from
//! zero to the decimals of the currency. Given amounts win and are compared with computed ones.

use rust_decimal::{Decimal, RoundingStrategy};

use super::model::{Adjustment, GivenVat, Invoice, Line};
use crate::error::Problem;
use crate::finding::{Finding, Severity};
use crate::format::currency_digits;

/// All amounts as they are printed.
pub(super) struct Totals {
    pub(super) currency: String,
    /// Net amount of every line, in order.
    pub(super) line_nets: Vec<Decimal>,
    pub(super) lines: Decimal,
    pub(super) allowances: Decimal,
    pub(super) charges: Decimal,
    pub(super) net: Decimal,
    pub(super) groups: Vec<VatGroup>,
    pub(super) vat: Decimal,
    pub(super) vat_tax_currency: Option<Decimal>,
    pub(super) gross: Decimal,
    pub(super) prepaid: Decimal,
    pub(super) rounding: Decimal,
    pub(super) payable: Decimal,
}

/// VAT of one category and rate.
#[derive(Debug, Clone)]
pub(super) struct VatGroup {
    pub(super) category: String,
    pub(super) rate: Option<Decimal>,
    pub(super) base: Decimal,
    pub(super) amount: Decimal,
    pub(super) reason: Option<String>,
    pub(super) reason_code: Option<String>,
}

/// Checked arithmetic: an overflow is the sender's error, not a panic.
struct Sum(Option<Decimal>);

impl Sum {
    fn of(values: impl IntoIterator<Item = Option<Decimal>>) -> Self {
        let mut values = values.into_iter();
        Self(values.try_fold(Decimal::ZERO, |sum, value| value.and_then(|value| sum.checked_add(value))))
    }

    fn or_problem(self, pointer: &str) -> Result<Decimal, Vec<Problem>> {
        self.0.ok_or_else(|| vec![Problem::new(pointer, "the amounts are out of range")])
    }
}

impl Totals {
    /// Computes what is missing and compares what is given.
    pub(super) fn compute(invoice: &Invoice, findings: &mut Vec<Finding>) -> Result<Self, Vec<Problem>> {
        let digits = currency_digits(&invoice.currency);
        let mut compare =
            Compare { findings, tolerance: Decimal::new(1, digits), currency: &invoice.currency };
        let mut line_nets = Vec::with_capacity(invoice.lines.len());
        for line in &invoice.lines {
            line_nets.push(line_net(line, digits, &mut compare)?);
        }
        let given = &invoice.totals;
        let lines = Sum::of(line_nets.iter().copied().map(Some)).or_problem("/lines")?;
        let lines = compare.choose("/totals/lines", "sum of line amounts", given.lines, lines);
        let allowances =
            Sum::of(invoice.allowances.iter().map(|a| amount(a, digits))).or_problem("/allowances")?;
        let allowances =
            compare.choose("/totals/allowances", "sum of allowances", given.allowances, allowances);
        let charges = Sum::of(invoice.charges.iter().map(|c| amount(c, digits))).or_problem("/charges")?;
        let charges = compare.choose("/totals/charges", "sum of charges", given.charges, charges);
        let net = Sum::of([Some(lines), Some(-allowances), Some(charges)]).or_problem("/totals/net")?;
        let net = compare.choose("/totals/net", "total without VAT", given.net, net);
        let groups = vat_groups(invoice, &line_nets, digits, &mut compare)?;
        let vat = Sum::of(groups.iter().map(|group| Some(group.amount))).or_problem("/vat")?;
        let vat = compare.choose("/totals/vat", "total VAT", given.vat, vat);
        let gross = Sum::of([Some(net), Some(vat)]).or_problem("/totals/gross")?;
        let gross = compare.choose("/totals/gross", "total with VAT", given.gross, gross);
        let prepaid = given.prepaid.unwrap_or_default();
        let rounding = given.rounding.unwrap_or_default();
        let payable = Sum::of([Some(gross), Some(-prepaid), Some(rounding)]).or_problem("/totals/payable")?;
        let payable = compare.choose("/totals/payable", "amount payable", given.payable, payable);
        Ok(Self {
            currency: invoice.currency.clone(),
            line_nets,
            lines,
            allowances,
            charges,
            net,
            groups,
            vat,
            vat_tax_currency: given.vat_tax_currency,
            gross,
            prepaid,
            rounding,
            payable,
        })
    }
}

/// Compares given with computed amounts; a difference beyond one unit of rounding is a finding.
struct Compare<'f, 'c> {
    findings: &'f mut Vec<Finding>,
    tolerance: Decimal,
    currency: &'c str,
}

impl Compare<'_, '_> {
    /// Totals must fit exactly.
    fn choose(&mut self, pointer: &str, what: &str, given: Option<Decimal>, computed: Decimal) -> Decimal {
        self.within(pointer, what, given, computed, Decimal::ZERO)
    }

    /// Products may differ by a rounding unit, as senders round prices differently.
    fn choose_rounded(
        &mut self,
        pointer: &str,
        what: &str,
        given: Option<Decimal>,
        computed: Decimal,
    ) -> Decimal {
        self.within(pointer, what, given, computed, self.tolerance)
    }

    fn within(
        &mut self,
        pointer: &str,
        what: &str,
        given: Option<Decimal>,
        computed: Decimal,
        tolerance: Decimal,
    ) -> Decimal {
        let Some(given) = given else { return computed };
        let differs = given.checked_sub(computed).is_none_or(|difference| difference.abs() > tolerance);
        if differs {
            let message = format!(
                "{what} is given as {given} {currency}, computed as {computed} {currency}; the given amount is printed",
                currency = self.currency
            );
            self.findings.push(Finding::new("invoice.total", Severity::Error, pointer, message));
        }
        given
    }
}

pub(super) fn round(value: Decimal, digits: u32) -> Decimal {
    let mut rounded = value.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(digits);
    rounded
}

/// Amount of an allowance or charge, computed from base and percentage where it is not given.
pub(super) fn amount(adjustment: &Adjustment, digits: u32) -> Option<Decimal> {
    adjustment.amount.or_else(|| {
        let product = adjustment.base?.checked_mul(adjustment.percent?)?;
        Some(round(product / Decimal::ONE_HUNDRED, digits))
    })
}

/// Quantity × price ÷ base quantity, less allowances, plus charges.
pub(super) fn computed_net(line: &Line, digits: u32) -> Option<Decimal> {
    let product = line.quantity.checked_mul(line.unit_price?)?.checked_div(line.base_quantity)?;
    let allowances = Sum::of(line.allowances.iter().map(|a| amount(a, digits))).0?;
    let charges = Sum::of(line.charges.iter().map(|c| amount(c, digits))).0?;
    Some(round(product.checked_sub(allowances)?.checked_add(charges)?, digits))
}

fn line_net(line: &Line, digits: u32, compare: &mut Compare) -> Result<Decimal, Vec<Problem>> {
    let pointer = || format!("{}/net", line.node.pointer);
    match (computed_net(line, digits), line.net) {
        (Some(computed), given) => {
            Ok(compare.choose_rounded(&pointer(), "net amount of the line", given, computed))
        }
        (None, Some(given)) => Ok(given),
        (None, None) => Err(vec![Problem::new(pointer(), "the amounts are out of range")]),
    }
}

/// Category of a rate that came without one.
pub(super) fn category(category: Option<&str>, rate: Option<Decimal>) -> Option<String> {
    match (category, rate) {
        (Some(category), _) => Some(category.to_owned()),
        (None, Some(rate)) if rate.is_zero() => Some("Z".into()),
        (None, Some(_)) => Some("S".into()),
        (None, None) => None,
    }
}

/// VAT by category and rate: the groups given, in their order, then groups only the lines know.
fn vat_groups(
    invoice: &Invoice,
    nets: &[Decimal],
    digits: u32,
    compare: &mut Compare,
) -> Result<Vec<VatGroup>, Vec<Problem>> {
    let computed = computed_groups(invoice, nets, digits).ok_or_else(|| out_of_range("/vat"))?;
    if invoice.vat.is_empty() {
        return Ok(computed);
    }
    let mut groups = Vec::new();
    for given in &invoice.vat {
        let name = category(given.category.as_deref(), given.rate).unwrap_or_else(|| "S".into());
        let own = computed.iter().find(|group| same(group, &name, given.rate));
        let own = own.map_or((Decimal::ZERO, Decimal::ZERO), |group| (group.base, group.amount));
        groups.push(given_group(given, name, own, digits, compare)?);
    }
    for group in &computed {
        if !invoice.vat.iter().any(|given| {
            let name = category(given.category.as_deref(), given.rate).unwrap_or_else(|| "S".into());
            same(group, &name, given.rate)
        }) {
            let rate = group.rate.map_or_else(String::new, |rate| format!(" {}%", rate.normalize()));
            let message =
                format!("the VAT breakdown lacks category {}{rate}, which lines have", group.category);
            compare.findings.push(Finding::new("invoice.vat", Severity::Error, "/vat", message));
        }
    }
    Ok(groups)
}

/// A group as given, compared with the lines and with its own base.
fn given_group(
    given: &GivenVat,
    name: String,
    (base, _): (Decimal, Decimal),
    digits: u32,
    compare: &mut Compare,
) -> Result<VatGroup, Vec<Problem>> {
    let pointer = |key: &str| format!("{}/{key}", given.pointer);
    let base = compare.choose(&pointer("base"), "taxable amount", given.base, base);
    let amount = vat_of(base, given.rate, digits).ok_or_else(|| out_of_range(&pointer("amount")))?;
    let amount = compare.choose_rounded(&pointer("amount"), "VAT amount", given.amount, amount);
    Ok(VatGroup {
        category: name,
        rate: given.rate,
        base,
        amount,
        reason: given.reason.clone(),
        reason_code: given.reason_code.clone(),
    })
}

fn out_of_range(pointer: &str) -> Vec<Problem> {
    vec![Problem::new(pointer, "the amounts are out of range")]
}

fn vat_of(base: Decimal, rate: Option<Decimal>, digits: u32) -> Option<Decimal> {
    Some(round(base.checked_mul(rate.unwrap_or_default())? / Decimal::ONE_HUNDRED, digits))
}

fn same(group: &VatGroup, category: &str, rate: Option<Decimal>) -> bool {
    // "No rate" and zero are the same for exempt and untaxed categories.
    group.category == category && group.rate.unwrap_or_default() == rate.unwrap_or_default()
}

fn computed_groups(invoice: &Invoice, nets: &[Decimal], digits: u32) -> Option<Vec<VatGroup>> {
    let mut groups: Vec<VatGroup> = Vec::new();
    let mut add = |name: Option<&str>, rate: Option<Decimal>, amount: Decimal| -> Option<()> {
        let Some(name) = category(name, rate).or_else(|| only_group(invoice)) else { return Some(()) };
        let rate = rate.or_else(|| only_rate(invoice, &name));
        match groups.iter_mut().find(|group| same(group, &name, rate)) {
            Some(group) => group.base = group.base.checked_add(amount)?,
            None => groups.push(VatGroup {
                category: name,
                rate,
                base: amount,
                amount: Decimal::ZERO,
                reason: None,
                reason_code: None,
            }),
        }
        Some(())
    };
    for (line, net) in invoice.lines.iter().zip(nets) {
        add(line.vat_category.as_deref(), line.vat_rate, *net)?;
    }
    for (list, sign) in [(&invoice.allowances, -Decimal::ONE), (&invoice.charges, Decimal::ONE)] {
        for adjustment in list {
            let amount = amount(adjustment, digits)? * sign;
            add(adjustment.vat_category.as_deref(), adjustment.vat_rate, amount)?;
        }
    }
    for group in &mut groups {
        group.amount = vat_of(group.base, group.rate, digits)?;
    }
    Some(groups)
}

/// Lines without VAT data belong to the only group there is.
fn only_group(invoice: &Invoice) -> Option<String> {
    match invoice.vat.as_slice() {
        [only] => category(only.category.as_deref(), only.rate),
        _ => None,
    }
}

fn only_rate(invoice: &Invoice, name: &str) -> Option<Decimal> {
    match invoice.vat.as_slice() {
        [only] if only.category.as_deref() == Some(name) => only.rate,
        _ => None,
    }
}
