//! The report: one page that needs nothing but itself.
//!
//! `model` decides what is on it, `charts`, `curve` and `lanes` compute where, and the template writes it.
//! No figure is computed here that the results do not hold, and no chart is there without data for it.

mod charts;
mod curve;
mod lanes;
mod model;

use super::result::Shootout;
use crate::page::{LayoutError, Template};

const TEMPLATE: Template = Template {
    markup: include_str!("page.html"),
    style: include_str!("style.css"),
    script: include_str!("script.js"),
};

/// The whole page.
///
/// # Errors
///
/// If the template does not fit the model, which the tests rule out.
pub fn page(shootout: &Shootout) -> Result<String, LayoutError> {
    TEMPLATE.render(&model::Page::of(shootout))
}
