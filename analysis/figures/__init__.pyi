from .consistency import ranking_figure as ranking_figure
from .consistency import report_figure as report_figure
from .promotion import backtest_figure as backtest_figure
from .promotion import promotion_figure as promotion_figure
from .style import Figure as Figure
from .style import save_figure as save_figure
