/// Divides each of PE lanes by 2**Shift, rounds and clips: y = clip(round(x / 2**Shift), Lo, Hi).
/// Latency: 2 cycles. Rate: one word per cycle.
/// Back-pressure: nothing moves while an offered result is not taken; in_ready_o depends on out_ready_i.
/// Reset clears out_valid_o; out_data_o is meaningless until the first out_valid_o.
///
/// Rounding is one of HALF_EVEN, HALF_UP (ties away from zero), HALF_DOWN (ties to zero), UP (away from zero),
/// DOWN (to zero), CEIL, FLOOR. A negative Shift multiplies.
module requantize #(
  parameter int unsigned PE       = 2,     // elements at a time
  parameter int unsigned InBits   = 8,     // bits of an input
  parameter bit          InSigned = 1'b1,
  parameter int          Shift    = 2,
  parameter              Rounding = "HALF_EVEN",
  parameter longint      Lo       = -8,
  parameter longint      Hi       = 7,
  parameter int unsigned OutBits  = 4      // bits of an output, holds Lo and Hi
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,  // synchronous
  input  logic                  in_valid_i,
  output logic                  in_ready_o,
  input  logic [PE*InBits-1:0]  in_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [PE*OutBits-1:0] out_data_o
);
  localparam int unsigned WideBits = InBits + 2 + (Shift < 0 ? -Shift : 0);
  localparam int unsigned ClipBits = WideBits > OutBits + 2 ? WideBits : OutBits + 2;

  if (Rounding != "HALF_EVEN" && Rounding != "HALF_UP" && Rounding != "HALF_DOWN" && Rounding != "UP" &&
      Rounding != "DOWN" && Rounding != "CEIL" && Rounding != "FLOOR") begin : gen_wrong_rounding
    $error("requantize: Rounding is HALF_EVEN, HALF_UP, HALF_DOWN, UP, DOWN, CEIL or FLOOR");
  end
  if (Shift > int'(InBits) + 1 || Lo > Hi) begin : gen_wrong_range
    $error("requantize: Shift is at most InBits + 1, and Lo at most Hi");
  end

  logic en, valid_q;
  assign en         = ~out_valid_o | out_ready_i;
  assign in_ready_o = en;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) {out_valid_o, valid_q} <= '0;
    else if (en) {out_valid_o, valid_q} <= {valid_q, in_valid_i};
  end

  for (genvar p = 0; p < PE; p++) begin : gen_lane
    logic signed [WideBits-1:0] x, rounded_d, rounded_q;
    logic signed [ClipBits-1:0] wide;
    logic        [OutBits-1:0]  clipped;

    assign x = InSigned ? WideBits'($signed(in_data_i[p*InBits +: InBits]))
                        : $signed(WideBits'(in_data_i[p*InBits +: InBits]));

    if (Shift > 0) begin : gen_divide
      logic signed [WideBits-1:0] below;
      logic                       half, rest, up;
      assign below = x >>> Shift;
      assign half  = x[Shift-1];
      if (Shift > 1) begin : gen_rest
        assign rest = |x[Shift-2:0];
      end else begin : gen_no_rest
        assign rest = 1'b0;
      end
      if (Rounding == "HALF_EVEN")      begin : gen_half_even assign up = half & (rest | below[0]); end
      else if (Rounding == "HALF_UP")   begin : gen_half_up   assign up = half & (rest | ~x[WideBits-1]); end
      else if (Rounding == "HALF_DOWN") begin : gen_half_down assign up = half & (rest | x[WideBits-1]); end
      else if (Rounding == "UP")        begin : gen_up        assign up = (half | rest) & ~x[WideBits-1]; end
      else if (Rounding == "DOWN")      begin : gen_down      assign up = (half | rest) & x[WideBits-1]; end
      else if (Rounding == "CEIL")      begin : gen_ceil      assign up = half | rest; end
      else                              begin : gen_floor     assign up = 1'b0; end
      assign rounded_d = below + $signed({{(WideBits-1){1'b0}}, up});
    end else begin : gen_multiply
      assign rounded_d = x <<< -Shift;
    end

    assign wide    = ClipBits'(rounded_q);
    assign clipped = wide < ClipBits'(Lo) ? OutBits'(Lo) : wide > ClipBits'(Hi) ? OutBits'(Hi) : OutBits'(wide);

    always_ff @(posedge clk_i) begin
      if (en) begin
        rounded_q                        <= rounded_d;
        out_data_o[p*OutBits +: OutBits] <= clipped;
      end
    end
  end
endmodule
