//! The amounts of an invoice as exact decimals, with the place of everything that is missing.

use rust_decimal::Decimal;

use crate::error::Problem;
use crate::json::Node;

/// The parts of an invoice that take part in arithmetic, and its lines.
pub(super) struct Invoice<'a> {
    pub(super) number: String,
    pub(super) type_code: String,
    pub(super) currency: String,
    pub(super) tax_currency: Option<String>,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) allowances: Vec<Adjustment>,
    pub(super) charges: Vec<Adjustment>,
    pub(super) vat: Vec<GivenVat>,
    pub(super) totals: GivenTotals,
}

/// One line.
pub(super) struct Line<'a> {
    pub(super) node: Node<'a>,
    pub(super) quantity: Decimal,
    pub(super) unit_price: Option<Decimal>,
    pub(super) base_quantity: Decimal,
    pub(super) net: Option<Decimal>,
    pub(super) vat_category: Option<String>,
    pub(super) vat_rate: Option<Decimal>,
    pub(super) allowances: Vec<Adjustment>,
    pub(super) charges: Vec<Adjustment>,
    pub(super) sub_lines: Vec<Line<'a>>,
}

/// Allowance or charge.
pub(super) struct Adjustment {
    pub(super) reason: Option<String>,
    pub(super) reason_code: Option<String>,
    pub(super) amount: Option<Decimal>,
    pub(super) base: Option<Decimal>,
    pub(super) percent: Option<Decimal>,
    pub(super) vat_category: Option<String>,
    pub(super) vat_rate: Option<Decimal>,
}

/// VAT of one category and rate as given.
pub(super) struct GivenVat {
    pub(super) category: Option<String>,
    pub(super) rate: Option<Decimal>,
    pub(super) base: Option<Decimal>,
    pub(super) amount: Option<Decimal>,
    pub(super) reason: Option<String>,
    pub(super) reason_code: Option<String>,
    pub(super) pointer: String,
}

/// Totals as given.
pub(super) struct GivenTotals {
    pub(super) lines: Option<Decimal>,
    pub(super) allowances: Option<Decimal>,
    pub(super) charges: Option<Decimal>,
    pub(super) net: Option<Decimal>,
    pub(super) vat: Option<Decimal>,
    pub(super) vat_tax_currency: Option<Decimal>,
    pub(super) gross: Option<Decimal>,
    pub(super) prepaid: Option<Decimal>,
    pub(super) rounding: Option<Decimal>,
    pub(super) payable: Option<Decimal>,
}

/// How deep lines may nest.
const SUB_LINES_DEPTH_MAX: usize = 8;

impl<'a> Invoice<'a> {
    /// Reads validated data; what the schema cannot say is checked here.
    pub(super) fn read(root: &Node<'a>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let lines = root.items("lines").into_iter().filter_map(|node| line(node, 0, &mut problems)).collect();
        let invoice = Self {
            number: root.text("number").unwrap_or_default(),
            type_code: root.text("type_code").unwrap_or_else(|| "380".into()),
            currency: root.text("currency").unwrap_or_default(),
            tax_currency: root.text("tax_currency"),
            lines,
            allowances: adjustments(root, "allowances", &mut problems),
            charges: adjustments(root, "charges", &mut problems),
            vat: root.items("vat").iter().map(|node| given_vat(node, &mut problems)).collect(),
            totals: given_totals(&root.get("totals"), &mut problems),
        };
        for key in ["number", "currency"] {
            if root.text(key).is_none() {
                problems.push(Problem::new(format!("/{key}"), "must not be blank"));
            }
        }
        for party in ["seller", "buyer"] {
            if root.get(party).text("name").is_none() {
                problems.push(Problem::new(format!("/{party}/name"), "must not be blank"));
            }
        }
        if problems.is_empty() { Ok(invoice) } else { Err(problems) }
    }
}

fn number(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Decimal> {
    node.decimal(key).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    })
}

fn line<'a>(node: Node<'a>, depth: usize, problems: &mut Vec<Problem>) -> Option<Line<'a>> {
    let unit_price = number(&node, "unit_price", problems);
    let net = number(&node, "net", problems);
    let priced = node.get("unit_price").exists() || node.get("net").exists();
    if !priced && depth == 0 {
        let message = "is required where the line has no `net`";
        problems.push(Problem::new(format!("{}/unit_price", node.pointer), message));
        return None;
    }
    let base_quantity = number(&node, "base_quantity", problems).unwrap_or(Decimal::ONE);
    if base_quantity.is_zero() {
        problems.push(Problem::new(format!("{}/base_quantity", node.pointer), "must not be zero"));
        return None;
    }
    let sub_lines = if depth < SUB_LINES_DEPTH_MAX {
        node.items("sub_lines").into_iter().filter_map(|sub| line(sub, depth + 1, problems)).collect()
    } else {
        problems.push(Problem::new(format!("{}/sub_lines", node.pointer), "lines nest too deep"));
        Vec::new()
    };
    Some(Line {
        quantity: number(&node, "quantity", problems).unwrap_or(Decimal::ONE),
        unit_price,
        base_quantity,
        net,
        vat_category: node.text("vat_category"),
        vat_rate: number(&node, "vat_rate", problems),
        allowances: adjustments(&node, "allowances", problems),
        charges: adjustments(&node, "charges", problems),
        sub_lines,
        node,
    })
}

fn adjustments(parent: &Node, key: &str, problems: &mut Vec<Problem>) -> Vec<Adjustment> {
    let mut out = Vec::new();
    for node in parent.items(key) {
        let adjustment = Adjustment {
            reason: node.text("reason"),
            reason_code: node.text("reason_code"),
            amount: number(&node, "amount", problems),
            base: number(&node, "base", problems),
            percent: number(&node, "percent", problems),
            vat_category: node.text("vat_category"),
            vat_rate: number(&node, "vat_rate", problems),
        };
        if adjustment.amount.is_none() && (adjustment.base.is_none() || adjustment.percent.is_none()) {
            let message = "is required where `base` and `percent` are not both given";
            problems.push(Problem::new(format!("{}/amount", node.pointer), message));
        }
        out.push(adjustment);
    }
    out
}

fn given_vat(node: &Node, problems: &mut Vec<Problem>) -> GivenVat {
    GivenVat {
        category: node.text("category"),
        rate: number(node, "rate", problems),
        base: number(node, "base", problems),
        amount: number(node, "amount", problems),
        reason: node.text("exemption_reason"),
        reason_code: node.text("exemption_code"),
        pointer: node.pointer.clone(),
    }
}

fn given_totals(node: &Node, problems: &mut Vec<Problem>) -> GivenTotals {
    let mut get = |key: &str| number(node, key, problems);
    GivenTotals {
        lines: get("lines"),
        allowances: get("allowances"),
        charges: get("charges"),
        net: get("net"),
        vat: get("vat"),
        vat_tax_currency: get("vat_tax_currency"),
        gross: get("gross"),
        prepaid: get("prepaid"),
        rounding: get("rounding"),
        payable: get("payable"),
    }
}
