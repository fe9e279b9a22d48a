"""A scene: one slide's tissue, drawn region by region."""

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.synthetic.canvas import Canvas
from wsiseg.synthetic.epithelium import paint_tubule
from wsiseg.synthetic.glomeruli import GlomerulusField
from wsiseg.synthetic.noise import FloatArray, Grain, Noise
from wsiseg.synthetic.nuclei import Nuclei, paint_nuclei
from wsiseg.synthetic.outline import Outline
from wsiseg.synthetic.spec import SlideSpec
from wsiseg.synthetic.stain import style_of
from wsiseg.synthetic.tubules import TubuleField
from wsiseg.synthetic.tuft import paint_glomerulus
from wsiseg.synthetic.vessels import VesselField, paint_vessel

_KIND = 6


class Scene:
    """Everything on one slide; ``render`` may be asked for any box, in any order, from any thread.

    Args:
        spec: The slide.
    """

    def __init__(self, spec: SlideSpec) -> None:
        self.spec = spec
        self.outline = Outline(spec)
        self.glomeruli = GlomerulusField(spec, self.outline)
        self.vessels = VesselField(spec, self.outline, self.glomeruli)
        self.tubules = TubuleField(spec, self.outline, self.glomeruli, self.vessels)
        self._style = style_of(spec)
        self._rough = Noise(3.2, 1.0, spec.seed, _KIND, 1)
        self._lacunae = Noise(11.0, 1.0, spec.seed, _KIND, 5)
        self._bend_x = Noise(9.0, 2.2, spec.seed, _KIND, 6)
        self._bend_y = Noise(9.0, 2.2, spec.seed, _KIND, 7)
        self._fine = Grain(1, spec.seed, _KIND, 2)
        self._coarse = Grain(3, spec.seed, _KIND, 3)
        self._sensor = Grain(0, spec.seed, _KIND, 4)

    def render(self, box: Box) -> NDArray[np.uint8]:
        """The pixels of a level-0 box, uint8 ``(h, w, 3)``; what lies off the slide is glass."""
        margin = self._style.margin
        canvas = Canvas(
            Box(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin), self.spec.mpp
        )
        self._draw(canvas)
        rgb = self._style.develop(canvas.pas, canvas.hem)
        noise = self._sensor.at(box.x0, box.y0, box.width, box.height) * np.float32(self._style.grain)
        noisy: NDArray[np.int16] = rgb + np.round(noise).astype(np.int16)[:, :, None]
        return np.clip(noisy, 0, 255).astype(np.uint8)

    def _draw(self, canvas: Canvas) -> None:
        depth = self.outline.block(canvas.x_um, canvas.y_um)
        tissue = canvas.cover(depth)
        if not tissue.any():
            return
        self._draw_tissue(canvas)
        self._weather(canvas, tissue)

    def _draw_tissue(self, canvas: Canvas) -> None:
        box = canvas.box
        rough = self._rough.block(canvas.x_um, canvas.y_um)
        coarse = self._coarse.at(box.x0, box.y0, box.width, box.height)
        solid = np.clip(
            np.float32(0.9) + np.float32(1.6) * self._lacunae.block(canvas.x_um, canvas.y_um), 0.0, 1.0
        )
        canvas.pas[...] = (np.float32(0.24) + np.float32(0.14) * rough + np.float32(0.2) * coarse) * solid
        canvas.hem[...] = (np.float32(0.08) + np.float32(0.04) * coarse) * solid
        warp = (
            self.tubules.warp_x.block(canvas.x_um, canvas.y_um),
            self.tubules.warp_y.block(canvas.x_um, canvas.y_um),
        )
        tubules = self.tubules.near(canvas.bounds_um)
        for tubule in tubules:
            paint_tubule(canvas, tubule, warp, rough)
        paint_nuclei(canvas, Nuclei.join([tubule.nuclei for tubule in tubules]), pas=0.15)
        for vessel in self.vessels.near(canvas.bounds_um):
            paint_vessel(canvas, vessel, warp, rough)
        glomeruli = self.glomeruli.near(canvas.bounds_um)
        if glomeruli:
            bend = (
                self._bend_x.block(canvas.x_um, canvas.y_um),
                self._bend_y.block(canvas.x_um, canvas.y_um),
            )
            for glomerulus in glomeruli:
                paint_glomerulus(canvas, glomerulus, bend, rough)

    def _weather(self, canvas: Canvas, tissue: FloatArray) -> None:
        """Texture, folds, fading, and the ragged edge."""
        box = canvas.box
        strength = np.float32(0.35 * self.spec.knobs.grain)
        texture = self._fine.at(box.x0, box.y0, box.width, box.height)
        texture = texture + self._coarse.at(box.x0 + 300, box.y0 + 500, box.width, box.height)
        factor = (np.float32(1.0) + strength * texture) * tissue
        factor = factor * self.outline.fading(canvas.x_um, canvas.y_um)
        thick = self.outline.thickness(canvas.x_um, canvas.y_um)
        if thick is not None:
            factor = factor * thick
        canvas.pas *= factor
        canvas.hem *= factor
