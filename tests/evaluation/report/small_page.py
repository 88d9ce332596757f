"""A page with one of everything, for tests of the report. It needs no Jinja2."""

import numpy as np

from andon.evaluation.report.page import Exhibit, Page, ReportPicture, ReportTable, Section, Tile
from andon.sources.pictures.encode import png


def picture(name: str, level: int = 0, alt: str = "a square", caption: str = "") -> ReportPicture:
    return ReportPicture(name=name, png=png(np.full((4, 6, 3), level, np.uint8)), alt=alt, caption=caption)


def page_of(*pictures: ReportPicture, key: str = "good/0.png") -> Page:
    exhibit = Exhibit(key=key, status=key, tone="bad", facts=((key, key),), pictures=pictures[1:])
    return Page(
        title=key,
        subtitle=key,
        tone="good",
        headline=key,
        tiles=(Tile(value=key, name=key, note=key),),
        summary=(key,),
        sections=(
            Section(
                title=key,
                text=(key,),
                tables=(
                    ReportTable(head=(key, "n"), rows=((key, key),), stacked=True),
                    ReportTable(head=("", ""), rows=((key, key),)),
                ),
                pictures=pictures[:1],
                exhibits=(exhibit,),
            ),
            Section(title="more", folded=True, text=(key,)),
        ),
        footer=key,
    )
