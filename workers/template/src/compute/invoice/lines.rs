//! The table of lines with the totals below it.

use bul_document::{Block, Cell, Column, ColumnType, Inline, Table};
use rust_decimal::Decimal;

use super::super::{Input, exact_cell, text_cell};
use super::model::{Adjustment, Invoice, Line};
use super::totals::{Totals, amount};
use super::{codes, period};
use crate::format::currency_digits;
use crate::json::Node;

/// Everything a row needs besides its line.
struct Rows<'a, 'i> {
    input: &'a Input<'i>,
    currency: &'a str,
    with_vat: bool,
}

/// The table of all lines.
pub(super) fn table(input: &Input, invoice: &Invoice, totals: &Totals) -> Block {
    let with_vat = invoice.lines.iter().any(|line| line.vat_rate.is_some() || line.vat_category.is_some());
    let rows = Rows { input, currency: &invoice.currency, with_vat };
    let mut body = Vec::with_capacity(invoice.lines.len());
    for (at, (line, net)) in invoice.lines.iter().zip(&totals.line_nets).enumerate() {
        let position = line.node.text("id").unwrap_or_else(|| (at + 1).to_string());
        rows.push(line, position, Some(*net), 0, &mut body);
    }
    let column = |title: &str, kind, width| Column { title: input.label(title), kind, width };
    let mut columns = vec![
        column("Position", ColumnType::Text, 10),
        column("Item", ColumnType::Text, 40),
        column("Quantity", ColumnType::Number, 14),
        column("Unit price", ColumnType::Money, 14),
    ];
    if with_vat {
        columns.push(column("VAT", ColumnType::Percent, 8));
    }
    columns.push(column("Net amount", ColumnType::Money, 14));
    let width = columns.len();
    Block::Table(Table {
        caption: String::new(),
        columns,
        rows: body,
        totals: rows.sums(invoice, totals, width),
    })
}

impl Rows<'_, '_> {
    fn money(&self, value: Decimal) -> Cell {
        exact_cell(self.input.locale.money(value, self.currency), value)
    }

    fn push(
        &self,
        line: &Line,
        position: String,
        net: Option<Decimal>,
        depth: usize,
        out: &mut Vec<Vec<Cell>>,
    ) {
        let mut row =
            vec![text_cell(position.clone()), self.item(line, depth), self.quantity(line), self.price(line)];
        if self.with_vat {
            row.push(match line.vat_rate {
                Some(rate) => exact_cell(self.input.locale.percent(rate), rate),
                None => text_cell(line.vat_category.clone().unwrap_or_default()),
            });
        }
        let net =
            net.or(line.net).or_else(|| super::totals::computed_net(line, currency_digits(self.currency)));
        row.push(net.map_or_else(Cell::default, |net| self.money(net)));
        out.push(row);
        for (at, sub) in line.sub_lines.iter().enumerate() {
            let own = sub.node.text("id").unwrap_or_else(|| format!("{position}.{}", at + 1));
            self.push(sub, own, None, depth + 1, out);
        }
    }

    /// Name, then whatever else the data says about the item, one statement a line.
    fn item(&self, line: &Line, depth: usize) -> Cell {
        let node = &line.node;
        let name = node.text("name").unwrap_or_default();
        let name = format!("{}{name}", "– ".repeat(depth));
        let mut text = vec![Inline::Strong { text: bul_document::text(name.clone()) }];
        let mut say = |value: Option<String>| {
            if let Some(value) = value.filter(|value| *value != name) {
                text.push(Inline::Break);
                text.extend(super::super::lines(&value));
            }
        };
        say(node.text("description"));
        say(node.text("note"));
        for attribute in node.items("attributes") {
            let pair = attribute.text("name").zip(attribute.text("value"));
            say(pair.map(|(name, value)| format!("{name}: {value}")));
        }
        for (label, value) in self.references(line) {
            say(value.map(|value| format!("{}: {value}", self.input.label(label))));
        }
        for class in node.items("classifications") {
            say(class.identifier().map(|class| format!("{}: {class}", self.input.label("Classification"))));
        }
        for (list, sign) in [(&line.allowances, -Decimal::ONE), (&line.charges, Decimal::ONE)] {
            for adjustment in list {
                say(self.adjustment(adjustment, sign));
            }
        }
        Cell { text, value: None }
    }

    fn references(&self, line: &Line) -> Vec<(&'static str, Option<String>)> {
        let node: &Node = &line.node;
        let price =
            |key: &str| node.decimal(key).ok().flatten().map(|d| self.input.locale.money(d, self.currency));
        vec![
            ("Seller's item number", node.text("seller_item_id")),
            ("Buyer's item number", node.text("buyer_item_id")),
            ("Standard item number", node.get("standard_item_id").identifier()),
            ("Country of origin", node.text("origin").map(|c| self.input.label(codes::country(&c)))),
            ("Period", period(self.input, &node.get("period"))),
            ("Order line", node.text("order_line")),
            ("Invoiced object", node.get("object_id").identifier()),
            ("Booking reference", node.text("accounting_reference")),
            ("Gross price", price("gross_price")),
            ("Price discount", price("discount")),
        ]
    }

    fn adjustment(&self, adjustment: &Adjustment, sign: Decimal) -> Option<String> {
        let amount = amount(adjustment, currency_digits(self.currency))? * sign;
        Some(format!("{}: {}", self.reason(adjustment, sign), self.input.locale.money(amount, self.currency)))
    }

    /// `Discount (10% of €50.00)`.
    fn reason(&self, adjustment: &Adjustment, sign: Decimal) -> String {
        let fallback = if sign.is_sign_negative() { "Allowance" } else { "Charge" };
        let mut text = adjustment.reason.clone().unwrap_or_else(|| match &adjustment.reason_code {
            Some(code) => format!("{} ({code})", self.input.label(fallback)),
            None => self.input.label(fallback),
        });
        if let Some(percent) = adjustment.percent {
            let percent = self.input.locale.percent(percent);
            let of = adjustment.base.map(|base| {
                format!(" {} {}", self.input.label("of"), self.input.locale.money(base, self.currency))
            });
            text.push_str(&format!(" ({percent}{})", of.unwrap_or_default()));
        }
        text
    }

    fn quantity(&self, line: &Line) -> Cell {
        let shown = self.input.locale.number(line.quantity.normalize());
        exact_cell(self.with_unit(shown, line, line.quantity), line.quantity)
    }

    fn with_unit(&self, shown: String, line: &Line, quantity: Decimal) -> String {
        match line.node.text("unit") {
            None => shown,
            Some(code) => match codes::unit(&code) {
                Some((one, _)) if quantity.abs() == Decimal::ONE => {
                    format!("{shown} {}", self.input.label(one))
                }
                Some((_, many)) => format!("{shown} {}", self.input.label(many)),
                None => format!("{shown} {code}"),
            },
        }
    }

    fn price(&self, line: &Line) -> Cell {
        let Some(price) = line.unit_price else { return Cell::default() };
        let mut shown = self.input.locale.money(price, self.currency);
        if line.base_quantity != Decimal::ONE {
            let base = self.input.locale.number(line.base_quantity.normalize());
            let base = self.with_unit(base, line, line.base_quantity);
            shown = format!("{shown} {} {base}", self.input.label("per"));
        }
        exact_cell(shown, price)
    }

    /// Sums: each as a row with its name under the items.
    fn sums(&self, invoice: &Invoice, totals: &Totals, width: usize) -> Vec<Vec<Cell>> {
        let mut rows = Vec::new();
        let mut add = |label: String, value: Decimal| {
            let mut row = vec![Cell::default(); width];
            if let [_, name, .., amount] = row.as_mut_slice() {
                *name = text_cell(label);
                *amount = self.money(value);
            }
            rows.push(row);
        };
        let label = |text: &str| self.input.label(text);
        let adjusted = !invoice.allowances.is_empty() || !invoice.charges.is_empty();
        if adjusted || totals.lines != totals.net {
            add(label("Sum of lines"), totals.lines);
        }
        let digits = currency_digits(self.currency);
        for (list, sign) in [(&invoice.allowances, -Decimal::ONE), (&invoice.charges, Decimal::ONE)] {
            for adjustment in list {
                let value = amount(adjustment, digits).unwrap_or_default() * sign;
                add(self.reason(adjustment, sign), value);
            }
        }
        if invoice.allowances.is_empty() && !totals.allowances.is_zero() {
            add(label("Allowances"), -totals.allowances);
        }
        if invoice.charges.is_empty() && !totals.charges.is_zero() {
            add(label("Charges"), totals.charges);
        }
        add(label("Total without VAT"), totals.net);
        add(label("Total VAT"), totals.vat);
        add(label("Total with VAT"), totals.gross);
        if !totals.prepaid.is_zero() {
            add(label("Already paid"), -totals.prepaid);
        }
        if !totals.rounding.is_zero() {
            add(label("Rounding"), totals.rounding);
        }
        add(label("Amount payable"), totals.payable);
        rows
    }
}
