//! The report: one self-contained page.
//!
//! `model` selects the contents, `charts`, `curve` and `lanes` compute positions, and the template
//! writes the page. It shows only figures that the results contain, and only charts that have data.

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

/// Returns the whole page.
///
/// # Errors
///
/// Fails if the template does not fit the model. The tests rule this out.
pub fn page(shootout: &Shootout) -> Result<String, LayoutError> {
    TEMPLATE.render(&model::Page::of(shootout))
}
